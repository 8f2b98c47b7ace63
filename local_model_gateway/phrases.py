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


def rough_size(size_bytes: float | None) -> str:
    """`8.1 GiB`, `131 GiB`: no decimals where they would only look exact."""
    if size_bytes is None or size_bytes < 10 * 1024**3:
        return size(size_bytes)
    return f"{size_bytes / 1024**3:.0f} GiB"


def amount(done_bytes: float, whole_bytes: float) -> str:
    """`5.1 of 8.1 GiB`: the unit once, where both have the same."""
    done, whole = size(done_bytes), size(whole_bytes)
    if done.split()[-1] == whole.split()[-1]:
        done = done.split()[0]
    return f"{done} of {whole}"


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


def clock(seconds: float) -> str:
    """`0:33`, `1:50`, `1:02:10`: time that passes while one looks."""
    minutes, rest = divmod(int(max(0.0, seconds)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def soon(seconds: float) -> str:
    """`4 s`, `1:50`: time that is left."""
    return f"{max(0.0, seconds):.0f} s" if seconds < 59.5 else clock(round(seconds))


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
