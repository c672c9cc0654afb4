"""`kproxy agent` whose list/watch loops come back soon after a fault, and soon doubt a silent watch."""

from kproxy.cli.main import main
from kproxy.sources.kube import KubeSource
from kproxy.sources.pace import Pace

_QUICK = Pace(idle_s=2.0, backoff_base_s=0.02, backoff_cap_s=0.2, retry_after_cap_s=0.2)

if __name__ == "__main__":
    KubeSource.__init__.__kwdefaults__ = {"pace": _QUICK}
    main()
