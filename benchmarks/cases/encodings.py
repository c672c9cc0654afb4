"""A list of all EndpointSlices, from the API server's socket to facts, in each encoding."""

from collections.abc import Iterator

from benchmarks.cluster import Size
from benchmarks.comparison import Comparison
from benchmarks.encoded import FORMS, PROTOBUF, Form, Listed, Pages, listed, packed, pages, served
from benchmarks.pace import Pace
from benchmarks.sample import Sample

_OURS = Form(PROTOBUF, is_compressed=True)


def measure(size: Size, pace: Pace) -> Iterator[tuple[Comparison, float]]:
    """The form that an agent asks for and the other forms, in turn; and the most MiB that each takes."""
    for with_pods in (False, True):
        yield _measure(size, pace, with_pods=with_pods)


def _measure(size: Size, pace: Pace, *, with_pods: bool) -> tuple[Comparison, float]:
    case = Comparison(f"list of slices{', with pods' * with_pods}")
    all_pages = pages(size, with_pods=with_pods)
    most: dict[Form, float] = dict.fromkeys(FORMS, 0.0)
    with served(all_pages) as server:
        for run in pace.rounds(case.case):
            for form in FORMS[:: 1 if run % 2 else -1]:
                found = listed(server, form)
                if found.objects != size.services:
                    raise RuntimeError(f"{found.objects} slices were listed by {form.name}")
                most[form] = max(most[form], found.grown_mb)
                _enter(case, form, found, _bytes(all_pages, form), most[form])
    return case, most[_OURS]


def _enter(case: Comparison, form: Form, found: Listed, size: int, most_mb: float) -> None:
    sample = Sample(found.wall_s, found.cpu_s, bytes_written=size)
    if form == _OURS:
        case.samples.append(sample)
    else:
        case.enter(
            form.name, sample, f"has {size / 1e6:.2f} MB on the wire and takes {most_mb:.1f} MB of memory"
        )


def _bytes(of: Pages, form: Form) -> int:
    return sum(len(packed(page)) if form.is_compressed else len(page) for page in of[form.content_type])
