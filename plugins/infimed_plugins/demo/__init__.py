"""The embedded default data: real images from installed packages, with questions whose answers are computed."""

from infimed_core import hookimpl


@hookimpl
def infimed_readers() -> dict[str, str]:
    """Offer ``demo-anatomy`` (pictures) and ``demo-volumes`` (blocks of slices)."""
    return {
        "demo-anatomy": "infimed_plugins.demo.anatomy:DemoAnatomy",
        "demo-volumes": "infimed_plugins.demo.volumes:DemoVolumes",
        "demo-grounding": "infimed_plugins.demo.grounding:DemoGrounding",
    }


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Offer ``demo-vqa`` (image questions) and ``demo-text`` (text-only questions)."""
    return {"demo-vqa": "infimed_plugins.demo.vqa:DemoVqa", "demo-text": "infimed_plugins.demo.vqa:DemoText"}
