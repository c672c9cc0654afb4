"""Tables of what agents cost the API server and its network, as docs/scale.md has them."""

from collections.abc import Iterable, Sequence

from benchmarks.scale.sizes import ENCODINGS, ENDPOINTS, Sizes, measured

SERVICES = 1_000, 5_000, 10_000, 50_000
CLUSTERS = (100, 1_000), (1_000, 5_000), (5_000, 10_000), (5_000, 50_000)
"""Nodes, and Services of 10 endpoints."""

NODES = 5_000
KINDS = 4
WATCH_S = 450.0
"""The average time of a watch."""

BOOKMARKS_PER_HOUR = 60
REPLACED_PER_DAY = 1
"""Replacements of each endpoint, by rolling updates and restarts."""

CHANGES_PER_REPLACEMENT = 3
"""Changes of its slice: the new pod exists; it is ready and the old pod ends; the old pod is gone."""

_DAY_S = 86_400
_HOUR_S = 3_600
_MEASURED_S = {"JSON": 0.50, "JSON, gzip": 0.26, "protobuf": 0.11, "protobuf, gzip": 0.08}
"""Seconds of a Kubernetes 1.36 API server for a list of 5,000 slices with 10 endpoints."""

_MEASURED_SLICES = 5_000
_SERVICE_TO_SLICE = 1 / 3
"""The bytes of a Service, divided by those of its slice."""


def main() -> None:
    sizes = measured()
    for table in (_lists(sizes), _times(), _events(sizes), _churn(sizes)):
        _print(table)


def _lists(sizes: Sizes) -> list[Sequence[str]]:
    heading = "one agent's lists, MB", *ENCODINGS
    rows = [
        (f"{count:,} Services", *(_number(count * sizes.lists[each] / 1e6) for each in ENCODINGS))
        for count in SERVICES
    ]
    totals = [
        (
            f"{count:,}, {NODES:,} agents, GB",
            *(_number(NODES * count * sizes.lists[each] / 1e9) for each in ENCODINGS),
        )
        for count in SERVICES
    ]
    return [heading, *rows, *totals]


def _times() -> list[Sequence[str]]:
    def seconds(services: int, encoding: str) -> float:
        return services * (1 + _SERVICE_TO_SLICE) * _MEASURED_S[encoding] / _MEASURED_SLICES

    heading = "server time of one agent's lists, s", *ENCODINGS
    return [
        heading,
        *(
            (f"{count:,} Services", *(_number(seconds(count, each)) for each in ENCODINGS))
            for count in SERVICES
        ),
    ]


def _events(sizes: Sizes) -> list[Sequence[str]]:
    named = {
        f"an endpoint of {ENDPOINTS} changes": sizes.slice_event,
        "an endpoint of 100 changes": sizes.large_slice_event,
        "a Service changes": sizes.service_event,
        "a bookmark": sizes.bookmark,
    }
    heading = (
        "an event",
        "JSON, kB",
        "protobuf, kB",
        f"JSON, {NODES:,} agents, MB",
        f"protobuf, {NODES:,}, MB",
    )
    return [
        heading,
        *(
            (
                name,
                *(_number(each[encoding] / 1e3) for encoding in ("JSON", "protobuf")),
                *(_number(NODES * each[encoding] / 1e6) for encoding in ("JSON", "protobuf")),
            )
            for name, each in named.items()
        ),
    ]


def _churn(sizes: Sizes) -> list[Sequence[str]]:
    rows: list[Sequence[str]] = [
        (
            "nodes, Services",
            "changes/s",
            "events/s",
            "protobuf, MB/s",
            "JSON, MB/s",
            "an agent, MB/h",
            "watches",
            "new watches/s",
        )
    ]
    for nodes, services in CLUSTERS:
        changes = services * ENDPOINTS * REPLACED_PER_DAY * CHANGES_PER_REPLACEMENT / _DAY_S
        packed, plain = (
            changes * sizes.slice_event[each] + KINDS * BOOKMARKS_PER_HOUR * sizes.bookmark[each] / _HOUR_S
            for each in ("protobuf", "JSON")
        )
        rows.append(
            (
                f"{nodes:,}, {services:,}",
                _number(changes),
                _number(changes * nodes),
                _number(packed * nodes / 1e6),
                _number(plain * nodes / 1e6),
                _number(packed * _HOUR_S / 1e6),
                f"{KINDS * nodes:,}",
                _number(KINDS * nodes / WATCH_S),
            )
        )
    return rows


def _number(value: float) -> str:
    """The number with two significant digits."""
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:g}"  # noqa: PLR2004


def _print(rows: Iterable[Sequence[str]]) -> None:
    """Columns as wide as needed, figures on the right."""
    rows = list(rows)
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for first, *others in rows:
        cells = [
            first.ljust(widths[0]),
            *(cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)),
        ]
        print("  ".join(cells).rstrip())  # noqa: T201 # a program
    print()  # noqa: T201 # the same


if __name__ == "__main__":
    main()
