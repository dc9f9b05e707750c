"""The embedded default data: real images from installed packages, with questions whose answers are computed."""

from infimed_core import hookimpl


@hookimpl
def infimed_readers() -> dict[str, str]:
    """Offer ``demo-anatomy`` (pictures), ``demo-volumes`` (blocks of slices), ``demo-two-step`` (several pictures)."""
    return {
        "demo-anatomy": "infimed_plugins.demo.anatomy:DemoAnatomy",
        "demo-volumes": "infimed_plugins.demo.volumes:DemoVolumes",
        "demo-two-step": "infimed_plugins.demo.two_step:DemoTwoStep",
        "demo-grounding": "infimed_plugins.demo.grounding:DemoGrounding",
    }


@hookimpl
def infimed_benchmarks() -> dict[str, str]:
    """Offer ``demo-vqa`` (image questions), ``demo-text`` (text-only) and ``demo-two-step`` (several pictures)."""
    return {
        "demo-vqa": "infimed_plugins.demo.vqa:DemoVqa",
        "demo-text": "infimed_plugins.demo.vqa:DemoText",
        "demo-two-step": "infimed_plugins.demo.two_step:DemoTwoStepBenchmark",
    }
