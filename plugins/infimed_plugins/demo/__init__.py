"""The embedded default data: real images from installed packages, with questions whose answers are computed."""

from infimed_core import Benchmark, Reader, hookimpl


@hookimpl
def infimed_readers() -> dict[str, type[Reader]]:
    """Offer ``demo-anatomy``."""
    from infimed_plugins.demo.anatomy import DemoAnatomy

    return {"demo-anatomy": DemoAnatomy}


@hookimpl
def infimed_benchmarks() -> dict[str, type[Benchmark]]:
    """Offer ``demo-vqa`` (image questions) and ``demo-text`` (text-only questions)."""
    from infimed_plugins.demo.vqa import DemoText, DemoVqa

    return {"demo-vqa": DemoVqa, "demo-text": DemoText}
