import pytest

from core.orchestrator.access.caller import EVERYBODY, Caller, Scope
from core.orchestrator.errors import NotAllowedError, SessionOwnershipError, UnknownResourceError

ALICE = Caller(frozenset({Scope.INTERACT, Scope.READ}), "alice-web", "alice")
BACK_END = Caller(frozenset({Scope.INTERACT, Scope.READ}), "back-end")
ADMIN = Caller(frozenset({Scope.ADMIN}), "admin")


@pytest.mark.parametrize("caller", [ADMIN, EVERYBODY])
def test_an_admin_may_do_everything_for_everybody(caller: Caller) -> None:
    for scope in Scope:
        caller.demand(scope)
    assert caller.named("bob") == "bob"
    assert caller.reporting_on(None) is None
    caller.check_may_erase("bob")
    caller.check_owner("bob", "interaction", "x")


def test_a_scope_gives_no_other() -> None:
    for scope in (Scope.INTERACT, Scope.READ):
        caller = Caller(frozenset({scope}), "one")
        assert [other for other in Scope if caller.may(other)] == [scope]
        with pytest.raises(NotAllowedError, match="this takes a key with the scope 'admin'"):
            caller.demand(Scope.ADMIN)


def test_a_bound_key_is_its_users_alone() -> None:
    assert ALICE.named(None) == ALICE.named("alice") == ALICE.reporting_on(None) == "alice"
    ALICE.check_may_erase("alice")
    ALICE.check_owner("alice", "interaction", "x")
    for refused in (ALICE.named, ALICE.reporting_on, ALICE.check_may_erase):
        with pytest.raises(NotAllowedError, match="bound to another user"):
            refused("bob")
    with pytest.raises(UnknownResourceError, match="unknown interaction 'x'"):
        ALICE.check_owner("bob", "interaction", "x")


def test_a_back_end_acts_for_whom_it_names_and_for_nobody_else() -> None:
    assert BACK_END.named("bob") == BACK_END.reporting_on("bob") == "bob"
    assert BACK_END.named(None) is None
    with pytest.raises(NotAllowedError):
        BACK_END.reporting_on(None)
    with pytest.raises(NotAllowedError):
        BACK_END.check_may_erase("bob")


def test_another_users_session_is_none_for_a_bound_key_alone() -> None:
    with pytest.raises(UnknownResourceError, match="unknown session 's1'"), ALICE.seeing_own("s1"):
        raise SessionOwnershipError
    with pytest.raises(SessionOwnershipError), BACK_END.seeing_own("s1"):
        raise SessionOwnershipError
