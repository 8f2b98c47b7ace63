"""What every client recipe renders to for one gateway: `python -m tests.recipes.golden` writes the files again."""

from pathlib import Path

from recipes import loader, render
from recipes.front_matter import Kind

FOLDER = Path(__file__).parent / "golden"
VALUES = render.Values("http://127.0.0.1:8787", "qwen3-32b", app_config="~/.config")


def text(rendered: render.Rendered) -> str:
    """All that a user would be shown, in one file."""
    parts = [f"# {step.model_dump_json(exclude_none=True)}" for step in rendered.steps]
    if rendered.launch:
        parts.append(f"# launch {' '.join(rendered.launch)}")
    parts += [f"--- {name}\n{body}" for name, body in rendered.blocks.items()]
    return "\n".join(parts)


def everything() -> dict[str, str]:
    """File name to content."""
    clients = loader.every(Kind.CLIENT)
    return {f"{id_}.txt": text(render.render(one, VALUES)) for id_, one in clients.items()}


def main() -> None:
    """Write them."""
    for name, content in everything().items():
        (FOLDER / name).write_text(content, encoding="utf-8")


if __name__ == "__main__":
    main()
