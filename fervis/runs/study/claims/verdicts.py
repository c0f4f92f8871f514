"""Judge statements: Holm's correction over the tests of a case, a verdict for each case, one for all."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from fervis.core.seeding import generator_for
from fervis.metrics.hypotheses import Draws, holm
from fervis.runs.study.claims.cases import MapCase, NumberCase
from fervis.runs.study.claims.effects import Effect
from fervis.runs.study.claims.map_tests import MAP_KINDS, OF_NETWORK, map_effects
from fervis.runs.study.claims.number_tests import NUMBER_KINDS, number_effects
from fervis.runs.study.claims.statements import Statement

LEVEL = 0.05
SUPPORTED, CONTRARY, NOT_SHOWN = "supported", "contrary", "not shown"
NOT_TESTED, NOT_SPECIFIC = "not tested", "not specific"
BY_METHOD, BY_NETWORK = "depends on the method", "depends on the network"


@dataclass(frozen=True)
class CaseVerdict:
    """The tests of a statement for one method and network.

    Attributes:
        statement: position among the statements.
        method: the explainer; empty for statements about the network alone.
        network: model, seed and checkpoint in words.
        control: which control the case is; empty for none.
        effects: with p-values by Holm's correction over all tests of the same method, network and control.
        verdict: ``supported``, ``contrary`` or ``not shown``.
    """

    statement: int
    method: str
    network: str
    control: str
    effects: tuple[Effect, ...]
    verdict: str


@dataclass(frozen=True)
class Verdict:
    """The verdict of a statement.

    Attributes:
        statement: what is judged.
        verdict: of all cases that are no control.
        cases: those of the explained networks.
        controls: those that the statement must not hold for.
        why: what the verdict rests on, where it is not the same for all cases.
    """

    statement: Statement
    verdict: str
    cases: tuple[CaseVerdict, ...]
    controls: tuple[CaseVerdict, ...]
    why: str


def judge(
    statements: Sequence[Statement], maps: Sequence[MapCase], numbers: Sequence[NumberCase], seed: int
) -> list[Verdict]:
    """Return the verdict of each statement.

    Args:
        statements: what is judged.
        maps: the cases of maps.
        numbers: the runs of layers.
        seed: of bootstraps and permutations.
    """
    cases = [
        verdict
        for group in (
            *(_case_verdicts(statements, case, seed) for case in maps),
            *(_number_verdicts(statements, numbers, network, seed) for network in _networks(numbers)),
        )
        for verdict in group
    ]
    # What concerns the network alone is the same by every method: one case stands for all.
    different = {(case.statement, case.method, case.network, case.control): case for case in reversed(cases)}
    return [
        _overall(statement, [case for case in reversed(different.values()) if case.statement == number])
        for number, statement in enumerate(statements)
    ]


def verdict_of(effects: Sequence[Effect]) -> str:
    """Return the verdict of tests that have been corrected.

    A statement is supported if every test finds it so, contrary if any test finds the opposite.
    """
    tested = [effect for effect in effects if effect.p == effect.p]
    significant = [effect.value.value > 0 for effect in tested if effect.p < LEVEL]
    if not all(significant):
        return CONTRARY
    return SUPPORTED if tested and len(significant) == len(tested) else NOT_SHOWN


def _case_verdicts(statements: Sequence[Statement], case: MapCase, seed: int) -> list[CaseVerdict]:
    draws = Draws(generator_for(seed, f"claims/{case.method}/{case.network}/{case.control}"))
    found = {
        number: map_effects(statement, case, draws)
        for number, statement in enumerate(statements)
        if statement.kind in MAP_KINDS and not (case.control and statement.kind in OF_NETWORK)
    }
    methods = {number: "" if statements[number].kind in OF_NETWORK else case.method for number in found}
    return [
        CaseVerdict(number, methods[number], case.network, case.control, effects, verdict_of(effects))
        for number, effects in _corrected(found).items()
    ]


def _number_verdicts(
    statements: Sequence[Statement], numbers: Sequence[NumberCase], network: str, seed: int
) -> list[CaseVerdict]:
    draws = Draws(generator_for(seed, f"claims/numbers/{network}"))
    found = {
        number: [
            effect for case in numbers if case.network == network for effect in number_effects(statement, case, draws)
        ]
        for number, statement in enumerate(statements)
        if statement.kind in NUMBER_KINDS
    }
    return [
        CaseVerdict(number, "", network, "", effects, verdict_of(effects))
        for number, effects in _corrected(found).items()
    ]


def _networks(numbers: Sequence[NumberCase]) -> list[str]:
    return list(dict.fromkeys(case.network for case in numbers))


def _corrected(found: dict[int, list[Effect]]) -> dict[int, tuple[Effect, ...]]:
    """Return the effects of each statement that has any, with p-values corrected over all of them."""
    listed = [(number, effect) for number, effects in found.items() for effect in effects]
    adjusted = holm([effect.p for _, effect in listed])
    corrected: dict[int, tuple[Effect, ...]] = {}
    for (number, effect), p in zip(listed, adjusted, strict=True):
        corrected[number] = (*corrected.get(number, ()), replace(effect, p=p))
    return corrected


def _overall(statement: Statement, cases: Sequence[CaseVerdict]) -> Verdict:
    own = tuple(case for case in cases if not case.control)
    controls = tuple(case for case in cases if case.control)
    if not own:
        why = statement.settings.get("why", "no run of the study has what it is about")
        return Verdict(statement, NOT_TESTED, own, controls, why)
    if len(verdicts := {case.verdict for case in own}) > 1:
        by_network = all(
            len({case.verdict for case in own if case.network == network}) == 1 for network in {c.network for c in own}
        )
        return Verdict(statement, BY_NETWORK if by_network else BY_METHOD, own, controls, _by_verdict(own))
    verdict = verdicts.pop()
    passing = sorted({case.control for case in controls if case.verdict == SUPPORTED})
    if verdict == SUPPORTED and passing:
        return Verdict(statement, NOT_SPECIFIC, own, controls, f"holds for {', '.join(passing)} too")
    return Verdict(statement, verdict, own, controls, "")


def _by_verdict(cases: Sequence[CaseVerdict]) -> str:
    """List the methods of each verdict, with their networks where there are several."""
    several = len({case.network for case in cases}) > 1
    listed: dict[str, list[str]] = {}
    for case in cases:
        listed.setdefault(case.verdict, []).append(f"{case.method} {case.network}".strip() if several else case.method)
    return "; ".join(f"{verdict}: {', '.join(names)}" for verdict, names in listed.items())
