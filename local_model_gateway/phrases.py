"""Numbers as people say them."""


def size(size_bytes: float | None) -> str:
    """`24.0 GiB`; unknown stays unknown."""
    if size_bytes is None:
        return "unknown"
    for unit in ("B", "KiB", "MiB"):
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} GiB"


def span(seconds: float | None) -> str:
    """`4.2 s`, `1:50 min`, `3:10 h`, `2 days`."""
    if seconds is None:
        return "unknown"
    if seconds < 60:
        return f"{seconds:.1f} s" if seconds < 10 else f"{seconds:.0f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes}:{rest:02} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours}:{minutes:02} h"
    return f"{hours // 24} days"


def spread(between_s: tuple[float, float] | list[float] | None) -> str:
    """`about 42 s`, or `42 s to 1:50 min` where the guess is wide; unknown stays unknown."""
    if between_s is None:
        return "unknown"
    low, high = between_s
    return (
        f"about {span(high)}" if high - low < max(5.0, high / 3) else f"{span(low)} to {span(high)}"
    )


def count(number: int, one: str, many: str | None = None) -> str:
    """`1 model`, `3 models`."""
    return f"{number} {one if number == 1 else many or one + 's'}"
