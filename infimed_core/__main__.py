"""``python -m infimed_core FILE`` is ``infimed-run FILE``, for launchers that start modules."""

from infimed_core.cli import run_main

if __name__ == "__main__":
    run_main()
