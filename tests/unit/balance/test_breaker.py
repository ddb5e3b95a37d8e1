from meshproxy.balance.breaker import CircuitBreaker
from meshproxy.model.cluster import CircuitBreakerThresholds


def test_a_resource_opens_at_its_limit_and_closes_again() -> None:
    breaker = CircuitBreaker(CircuitBreakerThresholds(max_connections=2))
    connections = breaker.connections
    assert connections.try_acquire()
    assert (connections.is_open, connections.remaining) == (False, 1)
    assert connections.try_acquire()
    assert (connections.is_open, connections.remaining) == (True, 0)
    assert not connections.try_acquire()
    assert connections.active == 2
    connections.release()
    assert connections.try_acquire()


def test_counting_without_asking_may_pass_the_limit() -> None:
    pending = CircuitBreaker(CircuitBreakerThresholds(max_pending_requests=0)).pending_requests
    pending.acquire()
    assert (pending.active, pending.remaining, pending.is_open) == (1, 0, True)


def test_defaults_are_envoys() -> None:
    breaker = CircuitBreaker(CircuitBreakerThresholds())
    assert (breaker.connections.limit, breaker.pending_requests.limit, breaker.requests.limit) == (1024, 1024, 1024)
    assert breaker.retries.limit == 3
    assert breaker.connection_pools.limit == 2**64 - 1


def test_retry_budget_is_a_share_of_what_is_active_and_waiting() -> None:
    breaker = CircuitBreaker(CircuitBreakerThresholds(retry_budget_percent=20.0, retry_budget_min_concurrency=2))
    assert breaker.retries.limit == 2
    for _ in range(10):
        breaker.requests.acquire()
        breaker.pending_requests.acquire()
    assert breaker.retries.limit == 4
    assert [breaker.retries.try_acquire() for _ in range(5)] == [True] * 4 + [False]
    for _ in range(10):
        breaker.pending_requests.release()
    # The limit fell below what is under way.
    assert (breaker.retries.limit, breaker.retries.remaining, breaker.retries.is_open) == (2, 0, True)
