from polyforge.supervisor.restarts import LONGEST_DELAY, RestartPolicy


def test_a_crash_is_followed_by_a_start_at_once() -> None:
    policy = RestartPolicy()
    assert [policy.ended(now, was_ready=True) for now in (0.0, 1.0, 2.0, 3.0, 4.0)] == [0.0] * 5


def test_more_than_five_ends_in_ten_seconds_are_slowed_down() -> None:
    policy = RestartPolicy()
    delays = [policy.ended(float(now), was_ready=True) for now in range(6)]
    assert delays[:5] == [0.0] * 5
    assert 0 < delays[5] < 1


def test_slow_crashes_never_wait() -> None:
    policy = RestartPolicy()
    assert all(policy.ended(now * 2.1, was_ready=True) == 0.0 for now in range(50))


def test_one_that_gets_ready_each_time_is_back_soon_however_often_it_is_killed() -> None:
    policy = RestartPolicy()
    for turn in range(200):
        policy.ready()
        assert policy.ended(turn * 0.5, was_ready=True) < 1


def test_one_that_never_starts_is_left_alone_for_longer_and_longer() -> None:
    policy = RestartPolicy()
    now, delays = 0.0, list[float]()
    for _ in range(15):
        delays.append(policy.ended(now, was_ready=False))
        now += delays[-1] + 0.1
    assert delays[:5] == [0.0] * 5
    assert delays[5:] == sorted(delays[5:])
    assert delays[-1] == LONGEST_DELAY


def test_getting_ready_ends_a_row_of_failed_starts() -> None:
    policy = RestartPolicy()
    for now in range(8):
        policy.ended(float(now), was_ready=False)
    policy.ready()
    assert policy.failed_starts == 0
    assert policy.ended(100.0, was_ready=True) == 0.0
