"""Whatever becomes of workers, every job ends once, and one that is at fault costs itself alone."""

from types import SimpleNamespace

from hypothesis import given
from hypothesis import strategies as st

from overfit.jobs.dispatch import Dispatch
from overfit.jobs.job import Event


def jobs(sizes):
    """Batches of these sizes; the jobs are what back ends know of jobs."""
    numbers = iter(range(sum(sizes)))
    return [
        [SimpleNamespace(name=str(next(numbers)), label="", setting={}) for _ in range(size)]
        for size in sizes
    ]


def run(batches, workers, culprits, choose):
    """Drives workers that take turns; one that begins with a culprit dies. Returns the events."""
    events, begun, working = [], [], {}
    dispatch = Dispatch(batches, events.append)
    while dispatch.waiting or dispatch.busy:
        idle = [worker for worker in range(workers) if worker not in working]
        if dispatch.waiting and idle:
            working[idle[0]] = list(dispatch.give(idle[0]))
            continue
        worker = choose(sorted(working))
        if not working[worker]:
            dispatch.release(worker)
            del working[worker]
            continue
        job = working[worker].pop(0)
        begun.append(job.name)
        if job.name in culprits:
            dispatch.release(worker, "killed")
            del working[worker]
        else:
            dispatch.hear(worker, Event(job, record={"key": job.name}))
    return events, begun


@given(
    st.lists(st.integers(1, 4), max_size=6),
    st.integers(1, 3),
    st.sets(st.integers(0, 23).map(str)),
    st.randoms(use_true_random=False),
)
def test_every_job_ends_once(sizes, workers, culprits, random):
    batches = jobs(sizes)
    names = [job.name for batch in batches for job in batch]
    events, begun = run(batches, workers, culprits, random.choice)
    assert sorted(event.job.name for event in events) == sorted(names)
    failed = {event.job.name for event in events if event.failure is not None}
    assert failed == culprits & set(names)
    for event in events:
        if event.failure is not None:
            assert "died twice (killed)" in event.failure.error
    in_batches = {job.name for batch in batches if len(batch) > 1 for job in batch}
    for name in names:
        assert begun.count(name) <= (2 + (name in in_batches) if name in culprits else 1)


def test_batches_are_given_in_their_order():
    _, begun = run(jobs([2, 1, 3]), 1, set(), lambda workers: workers[0])
    assert begun == list("012345")


def test_what_a_lost_worker_has_left_comes_first_and_each_job_alone():
    batches = jobs([3, 1])
    dispatch = Dispatch(batches, lambda event: None)
    first, *left = dispatch.give("a")
    dispatch.hear("a", Event(first, record={}))
    assert dispatch.left("a") == left
    dispatch.release("a", "killed")
    assert [dispatch.give(worker) for worker in "bcd"] == [[left[0]], [left[1]], batches[1]]


def test_jobs_of_a_worker_from_before_are_not_given_to_others():
    (batch,) = jobs([2])
    dispatch = Dispatch([], lambda event: None)
    dispatch.adopt("before", batch)
    assert dispatch.busy and not dispatch.waiting
    dispatch.release("before", "killed")
    assert [dispatch.give("a"), dispatch.give("b")] == [[batch[0]], [batch[1]]]
