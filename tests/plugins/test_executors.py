"""Executors: order, equal results, bounded queues, and errors that name the item."""

from __future__ import annotations

import functools
import importlib.util
import multiprocessing
import os
import pickle
import pkgutil
import subprocess
import sys
import time
import types

import numpy as np
import pytest

from infimed_core import DataError, InfimedError
from infimed_plugins.executors import infimed_executors, local
from infimed_plugins.executors.local import Processes, Serial, cpu_quota
from infimed_plugins.executors.ray import Ray
from infimed_plugins.executors.ray_data import RayData


def slow_square(value):
    time.sleep(0.02 if value % 3 == 0 else 0)
    return value * value


def fail_on(bad, value):
    if value == bad:
        raise DataError("truncated", f"item {value} is cut short")
    return value


def die_on(bad, value):
    if value == bad:
        os._exit(9)
    return value


def open_file(path):
    with open(path) as file:
        return file.read()


def score_part(task):
    return task()


def short(value):
    time.sleep(0.002 * (value % 3))
    return value


def process_id(value):
    return os.getpid()


@pytest.mark.parametrize(
    "executor", [Serial(), Processes(num_processes=1), Processes(num_processes=2, queue_per_process=1)]
)
def test_results_come_in_the_order_of_the_items(executor):
    assert list(executor.map(slow_square, list(range(12)))) == [value * value for value in range(12)]
    assert list(executor.map(slow_square, [])) == []


def test_processes_are_others_than_this_one_and_wait_for_the_next_map_while_the_executor_is_open(monkeypatch):
    monkeypatch.setattr(local, "_num_cpus", lambda: 2)
    monkeypatch.setattr(local, "_default_processes", lambda: 2)
    executor = Processes()
    with executor.opened():
        first = set(executor.map(process_id, list(range(8))))
        started = {child.pid for child in multiprocessing.active_children()}
        second = set(executor.map(process_id, list(range(8))))
        assert os.getpid() not in started and len(started) == 2
        assert first | second <= started  # one quick process may take every item
        assert {child.pid for child in multiprocessing.active_children()} == started
    assert multiprocessing.active_children() == []
    assert not first & set(executor.map(process_id, [0, 1]))
    assert multiprocessing.active_children() == []


KILLED = """
import multiprocessing, time
from infimed_plugins.executors.local import Processes

if __name__ == "__main__":
    executor = Processes(num_processes=2)
    with executor.opened():
        list(executor.map(abs, [1, 2, 3, 4]))
        print(*(process.pid for process in multiprocessing.active_children()), flush=True)
        time.sleep(600)
"""


def test_workers_end_when_the_main_process_is_killed(tmp_path):
    import psutil

    (tmp_path / "killed.py").write_text(KILLED)
    main = subprocess.Popen([sys.executable, tmp_path / "killed.py"], stdout=subprocess.PIPE, text=True)
    workers = [psutil.Process(int(pid)) for pid in main.stdout.readline().split()]
    main.kill()
    main.communicate()
    assert workers
    left = psutil.wait_procs(workers, timeout=300)[1]
    assert [worker for worker in left if worker.status() != psutil.STATUS_ZOMBIE] == []


@pytest.mark.parametrize("executor", [Serial(), Processes(num_processes=2)])
def test_an_exception_is_raised_as_it_was_after_the_results_before_it(executor):
    results = executor.map(functools.partial(fail_on, 2), list(range(5)))
    assert [next(results), next(results)] == [0, 1]
    with pytest.raises(DataError, match="item 2 is cut short") as caught:
        next(results)
    assert caught.value.code == "truncated"


def test_a_worker_that_dies_is_told_of_with_its_item_and_a_remedy():
    with pytest.raises(InfimedError, match=r"worker process died at item \d+ .*num_processes") as caught:
        list(Processes(num_processes=2, queue_per_process=1).map(functools.partial(die_on, 3), list(range(6))))
    assert "\n" not in str(caught.value)


class Counted(list):
    """Items that remember how many were taken."""

    taken = 0

    def __iter__(self):
        for item in super().__iter__():
            self.taken += 1
            yield item


def test_no_more_items_are_handed_out_than_the_queue_holds():
    items = Counted(range(100))
    results = Processes(num_processes=2, queue_per_process=2).map(slow_square, items)
    next(results)
    assert items.taken <= 2 * 2 + 1
    results.close()


def test_a_caller_that_stops_half_way_leaves_no_process_behind():
    results = Processes(num_processes=2).map(time.sleep, [0, *[3600] * 5])
    next(results)
    assert len(multiprocessing.active_children()) == 2
    results.close()
    assert multiprocessing.active_children() == []


@pytest.mark.parametrize("executor", [Ray(), RayData()])
def test_ray_without_its_package_names_the_remedy(monkeypatch, executor):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(InfimedError, match=r"pip install 'infimed\[ray\]'"):
        list(executor.map(slow_square, [1]))


@pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="needs the extra ray")
@pytest.mark.slow
@pytest.mark.filterwarnings("default")
def test_ray_and_ray_data_give_the_same_results_and_errors_and_scores_as_this_process(tmp_path, monkeypatch):
    import ray

    from infimed_core import Sample, Turn
    from infimed_core.curate.score_shards import ScoringJob
    from infimed_core.curate.scoring import ScoreTask
    from infimed_core.store.broadcast import Broadcast
    from infimed_core.store.dataset import Dataset, write_samples
    from infimed_core.store.scores import ScoreTable
    from infimed_plugins.quality.corruptions import png
    from infimed_plugins.quality.installed import media_loader
    from infimed_plugins.quality.scorer import FiveDimension

    def rows():
        for number in range(60):
            pixels = np.random.default_rng(number).integers(0, 255, (64, 64, 3)).astype(np.uint8)
            turns = (Turn(role="user", content=(0,)), Turn(role="assistant", content=(f"MRI of brain {number}.",)))
            yield Sample(id=f"s{number}", turns=turns, media=(png(pixels),), tags={"modality": "MR"})

    write_samples(tmp_path / "samples.jsonl", rows())
    dataset = Dataset(tmp_path / "samples.jsonl")

    def digest(name, executor):
        setting = Broadcast(ScoringJob(FiveDimension(), dataset, media_loader(), tmp_path / name / "score", ""))
        tasks = [ScoreTask(setting, at, at + 20) for at in (0, 20, 40)]
        assert [done.num_scored for done in executor.map(score_part, tasks)] == [20, 20, 20]
        return ScoreTable(tmp_path / name / "score").finish("", {})

    wanted = digest("serial", Serial())
    assert digest("processes", Processes(num_processes=2)) == wanted
    try:
        for _ in range(12):  # a caller that stops half-way, whatever ends at that moment
            results = Ray(cpus_per_task=0.25, max_in_flight=8).map(short, list(range(20)))
            assert [next(results), next(results)] == [0, 1]
            results.close()
        for executor in (Ray(cpus_per_task=0.25, max_in_flight=3), RayData(cpus_per_task=0.25)):
            assert list(executor.map(slow_square, [1, 2, 3])) == [1, 4, 9]
            assert list(executor.map(slow_square, [])) == []
            with pytest.raises(DataError, match="item 2 is cut short"):
                list(executor.map(functools.partial(fail_on, 2), [1, 2]))
            assert digest(type(executor).__name__, executor) == wanted
        only_here = types.ModuleType("only_here")
        exec("def same(value):\n    return value", only_here.__dict__)
        only_here.same.__module__ = "only_here"
        monkeypatch.setitem(sys.modules, "only_here", only_here)
        (tmp_path / "gone").write_text("")
        for executor in (Ray(cpus_per_task=0.25, max_retries=0), RayData(cpus_per_task=0.25, max_retries=0)):
            with pytest.raises(InfimedError, match=r"lacks the module 'only_here': install it on the workers"):
                list(executor.map(only_here.same, [1, 2]))
            with pytest.raises(InfimedError, match=r"does not find what it needs \(.*nowhere.*under the same paths"):
                list(executor.map(open_file, [tmp_path / "gone", tmp_path / "nowhere"]))
            results, done = executor.map(functools.partial(die_on, 2), list(range(4))), []
            with pytest.raises(InfimedError, match=r"worker died at item 2 of 4") as caught:
                done.extend(results)
            assert "\n" not in str(caught.value)
    finally:
        ray.shutdown()


def test_settings_travel_and_are_checked():
    for name, place in infimed_executors().items():
        kind = pkgutil.resolve_name(place)
        assert pickle.loads(pickle.dumps(kind())) == kind(), name
    with pytest.raises(ValueError, match="num_processes"):
        Processes(num_processes=0)


@pytest.mark.parametrize(
    ("files", "own", "expected"),
    [
        ({"cpu.max": "150000 100000\n"}, "0::/\n", 1.5),
        ({"cpu.max": "max 100000\n"}, "0::/\n", None),
        ({"cpu.max": "max 100000", "a/cpu.max": "400000 100000", "a/b/cpu.max": "max 100000"}, "0::/a/b\n", 4.0),
        ({"cpu/cpu.cfs_quota_us": "50000", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu,cpuacct:/\n1:name=x:/\n", 0.5),
        ({"cpu/cpu.cfs_quota_us": "-1", "cpu/cpu.cfs_period_us": "100000"}, "4:cpu:/x\n", None),
        ({}, "", None),
        ({"cpu.max": "nonsense"}, "0::/\n", None),
    ],
)
def test_the_quota_of_a_container_counts_and_not_the_machine_alone(tmp_path, files, own, expected):
    for name, text in files.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "own").write_text(own)
    assert cpu_quota(tmp_path, tmp_path / "own") == expected


def test_there_are_as_many_processes_as_the_machine_and_its_container_grant(monkeypatch):
    num_cpus = local._num_cpus.__wrapped__  # the suite has put 1 in its place
    monkeypatch.setattr(os, "sched_getaffinity", lambda process: {0, 1, 5}, raising=False)
    for quota, expected in ((None, 3), (1.5, 2), (8.0, 3), (0.1, 1)):
        monkeypatch.setattr(local, "cpu_quota", lambda quota=quota: quota)
        assert num_cpus() == expected


def test_threads_are_no_more_than_a_quota_grants_and_both_are_said(monkeypatch):
    monkeypatch.setattr(local, "_num_cpus", local._num_cpus.__wrapped__)  # the suite has put 1 in its place
    monkeypatch.setattr(local, "_allowed", lambda: 8)
    monkeypatch.setattr(os, "cpu_count", lambda: 64)
    monkeypatch.setattr(local, "cpu_quota", lambda: 1.5)
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setenv("OMP_NUM_THREADS", "7")
    local.bound_threads()
    assert os.environ["OMP_NUM_THREADS"] == "7"  # who says it has said it
    assert Serial().uses().endswith("data in this process, models with 7 threads (OMP_NUM_THREADS)")
    monkeypatch.delenv("OMP_NUM_THREADS")
    local.bound_threads()
    assert os.environ["OMP_NUM_THREADS"] == "2"
    assert "computes on 2 of 64 processors (affinity 8, quota 1.5): data in up to 2 proc" in Processes().uses()
    assert "up to 5 processes (num_processes)" in Processes(num_processes=5).uses()


def test_ray_is_shut_down_after_its_work_unless_it_ran_before(monkeypatch):
    class FakeRay:
        running = False

        def is_initialized(self):
            return self.running

        def shutdown(self):
            self.running = False

    ray = FakeRay()
    monkeypatch.setitem(sys.modules, "ray", ray)
    for executor in (Ray(), RayData()):
        with executor.opened():
            ray.running = True
        assert not ray.running
        ray.running = True
        with executor.opened():
            pass
        assert ray.running
        ray.running = False
