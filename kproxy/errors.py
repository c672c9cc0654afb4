"""Every error that kproxy raises on purpose, in one tree.

The command line turns each error into a message and an exit code: `InputError` is 2 (wrong usage or input),
`EnvironmentLacking` is 3 (the machine lacks something, and the message names the fix). Any other Python exception that
reaches the user is a defect.
"""


class KproxyError(Exception):
    """The root of the tree. Its text is a sentence for the user."""


class InputError(KproxyError):
    """Input from the user cannot be used."""


class Malformed(InputError):
    """Bytes are not encoded as they should be. The text says where the fault is."""


class InvalidField(InputError):
    """One field of an object or configuration breaks its rules.

    `field` is a path as Kubernetes writes it (`spec.ports[0].port`); `reason` says what was found and what is allowed.
    """

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}" if field else reason)
        self.field = field
        self.reason = reason


class Irrelevant(InvalidField):
    """A correct object from which no rule follows, so it is not reported as a fault."""


class EnvironmentLacking(KproxyError):
    """The machine lacks a program, a privilege or a kernel feature. The text names the fix."""


class ApiFailed(EnvironmentLacking):
    """The Kubernetes API gave no answer or refused a request. The text names the fix.

    `status` is the HTTP status, 0 without an answer. `retry_after_s` is how long the server asked us to wait, 0 if it
    did not ask. `is_ahead` is true if we asked for a resourceVersion that the server has not reached.
    """

    def __init__(
        self, text: str, *, status: int = 0, retry_after_s: float = 0.0, is_ahead: bool = False
    ) -> None:
        super().__init__(text)
        self.status = status
        self.retry_after_s = retry_after_s
        self.is_ahead = is_ahead


class OperationFailed(KproxyError):
    """A program that kproxy started, or the kernel itself, did not do what it was asked to do.

    `said` is the answer in the words of the program or of the kernel. `is_verdict` tells whether the answer is a
    judgement of the rules: only then can a Service be at fault.
    """

    said: str
    is_verdict: bool


class ProgramFailed(OperationFailed):
    """A program that kproxy started ended with an error or did not end in time.

    `exit_code` is None where kproxy ended the program, after a time-out or because kproxy itself was to end; it is
    negative after a signal, whose name `signal` then is. `stderr` is the whole text that the program wrote there.
    `excerpt` holds the lines of its input around the one that it named, each with its number; empty if it named none.
    `line` is the number of the line that it named, 0 if it named none.
    """

    def __init__(
        self,
        program: str,
        exit_code: int | None,
        stderr: str,
        excerpt: str = "",
        line: int = 0,
        *,
        signal: str = "",
    ) -> None:
        if exit_code is None:
            ended = "did not end in time"
        elif exit_code < 0:
            ended = f"ended by signal {signal or -exit_code}"
        else:
            ended = f"failed with exit code {exit_code}"
        text = ": ".join(filter(None, (f"{program} {ended}", stderr.strip())))
        super().__init__(f"{text}\n{excerpt}" if excerpt else text)
        self.program = program
        self.exit_code = exit_code
        self.stderr = self.said = stderr
        self.excerpt = excerpt
        self.line = line
        self.signal = signal
        # a program that crashes, is killed or hangs says nothing about its input
        self.is_verdict = exit_code is not None and exit_code >= 0


class KernelRefused(OperationFailed):
    """The kernel answered a message over netlink with an error, or not as it should.

    `asked` names the message, as `the list of chains`. `errno` is the number of the error (errno(3)); EINTR means that
    others changed the tables during each try to read them. No Service is at fault: what kproxy sends over netlink
    without a program goes to `nft` after a refusal, which then judges it.
    """

    is_verdict = False

    def __init__(self, asked: str, errno: int, said: str) -> None:
        super().__init__(f"the kernel refuses {asked}: {said}")
        self.asked = asked
        self.errno = errno
        self.said = said
