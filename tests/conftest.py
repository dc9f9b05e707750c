"""Settings that every test shares: property tests draw the same examples on every machine, however slow it is."""

import hypothesis

hypothesis.settings.register_profile(
    "infimed",
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[hypothesis.HealthCheck.too_slow],
)
hypothesis.settings.load_profile("infimed")
