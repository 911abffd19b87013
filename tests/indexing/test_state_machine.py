"""Random operations on a real index: whatever the order, exactly the live sentences are found.

A short run belongs to the suite.  The long one::

    NIGHTLY_OPERATIONS=20000 python -m pytest -s tests/indexing/test_state_machine.py

prints its seed; ``NIGHTLY_SEED`` repeats it.
"""

from __future__ import annotations

import os
import random
import shutil
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import ClassVar

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from tests.fakes.living_index import LivingIndex, Place

OPERATIONS = int(os.environ.get("NIGHTLY_OPERATIONS", "160"))
SEED = int(os.environ.get("NIGHTLY_SEED", "0")) or (
    20261121 if OPERATIONS <= 1000 else random.SystemRandom().randrange(1, 2**31)
)
# Each machine leaves out some of the rules (swarm testing), so several short ones see more than one long one.
STEPS = 20 if OPERATIONS <= 1000 else 100
TENANTS = ("acme", "beta")
FULL_CHECK_EVERY = 8
TOLD_EVERY = 500

places = st.builds(Place, st.sampled_from(TENANTS), st.sampled_from(["a", "b/ü", "文档", "d"]))
# Two of three sentences are new; the third may stand in several documents, or twice in one.
kinds = st.lists(st.sampled_from(["new", "new", "新", "shared"]), min_size=1, max_size=5)
# Searches are what most disturbances are, so that the slow ones stay rare.
disturbances = st.sampled_from(["live"] * 16 + ["dead"] * 8 + ["restart"] * 2 + ["kill", "reindex"])


class IndexMachine(RuleBasedStateMachine):
    """Every rule is one operation; ``performed`` counts them over all machines."""

    performed: ClassVar[Counter[str]] = Counter()
    migrated: ClassVar[Counter[str]] = Counter()
    made = 0

    def __init__(self) -> None:
        super().__init__()
        self.home = Path(tempfile.mkdtemp(prefix="winnow-state-"))
        self.subject: LivingIndex | None = None
        self.steps = 0

    @initialize()
    def begin(self) -> None:
        self.subject = LivingIndex(self.home / "home")

    def _index(self, operation: str) -> LivingIndex:
        assert self.subject is not None
        done = type(self).performed
        done[operation] += 1
        if done.total() % TOLD_EVERY == 0:  # a run that is cut says how far it came
            sys.stdout.write(f"{done.total()} operations so far\n")
            sys.stdout.flush()
        self.steps += 1
        return self.subject

    def _sentences(self, kinds: list[str]) -> list[str]:
        made = []
        for kind in kinds:
            type(self).made += 1
            number = type(self).made
            made.append(
                {
                    "new": f"Stone{number} lies in river r{number}.",
                    "新": f"第{number}号石头𝄞在河里。",
                    "shared": "Every river ends in some sea.",
                }[kind]
            )
        return made

    @rule(place=places, kinds=kinds)
    def add_or_update(self, place: Place, kinds: list[str]) -> None:
        index = self._index("add or update")
        index.write({place: self._sentences(kinds)})

    @rule(several=st.dictionaries(places, kinds, min_size=2, max_size=4))
    def add_several(self, several: dict[Place, list[str]]) -> None:
        index = self._index("add several")
        index.write({place: self._sentences(kinds) for place, kinds in several.items()})

    @rule(place=places)
    def delete(self, place: Place) -> None:
        self._index("delete").delete(place)

    @rule(place=places, kinds=kinds, rare=st.integers(0, 15), after_ms=st.integers(0, 40))
    def write_while_the_engine_dies(self, place: Place, kinds: list[str], rare: int, after_ms: int) -> None:
        if rare:
            self._index("delete").delete(place)
            return
        index = self._index("killed while writing")
        with index.engine_killed_after(after_ms / 1000):
            index.write({place: self._sentences(kinds)})

    @rule(kind=disturbances, which=st.integers(0, 10_000), tenant=st.sampled_from(TENANTS))
    def search_or_disturb(self, kind: str, which: int, tenant: str) -> None:
        index = self._index(kind)
        if kind == "restart":
            index.restart()
        elif kind == "kill":
            index.kill_engine()
        elif kind == "reindex":
            index.reindex()
        else:
            known = [one for _, one in index.sentences(tenant)] if kind == "live" else _said(index, tenant)
            if known:
                index.search(tenant, known[which % len(known)])

    @rule(back=st.booleans(), rare=st.integers(0, 5), tenant=st.sampled_from(TENANTS))
    def migrate_or_search(self, back: bool, rare: int, tenant: str) -> None:
        index = self._index("search" if rare else "migration step")
        if rare:
            for _, sentence in list(index.sentences(tenant))[:1]:
                index.search(tenant, sentence)
            return
        type(self).migrated[index.migrate(back)] += 1

    @invariant()
    def exactly_the_live_sentences_are_there(self) -> None:
        if self.subject is None:
            return
        for tenant in TENANTS:
            self.subject.counts_agree(tenant)
            if self.steps % FULL_CHECK_EVERY == 0:
                self.subject.check(tenant)

    def teardown(self) -> None:
        if self.subject is not None:
            try:
                for tenant in TENANTS:
                    self.subject.check(tenant)
            finally:
                self.subject.close()
        shutil.rmtree(self.home, ignore_errors=True)


def _said(index: LivingIndex, tenant: str) -> list[str]:
    """The latest sentences that are no more."""
    return [sentence for owner, sentence in index.dead[-50:] if owner == tenant]


def test_any_order_of_operations_leaves_exactly_the_live_sentences() -> None:
    sys.stdout.write(f"seed {SEED}\n")
    IndexMachine.performed.clear()
    IndexMachine.migrated.clear()
    done = IndexMachine.performed
    rounds = 0
    while done.total() < OPERATIONS:
        run_state_machine_as_test(
            seed(SEED + rounds)(IndexMachine),
            settings=settings(
                max_examples=-(-(OPERATIONS - done.total()) // STEPS) + 1,
                stateful_step_count=STEPS,
                deadline=None,
                database=None,
                phases=[Phase.generate],  # shrinking starts thousands of engines: repeat the seed instead
                suppress_health_check=list(HealthCheck),
            ),
        )
        rounds += 1
    sys.stdout.write(f"{done.total()} operations: {dict(sorted(done.items()))}\n")
    sys.stdout.write(f"of the migrations: {dict(sorted(IndexMachine.migrated.items()))}\n")


def test_the_checks_see_a_ghost_and_a_lost_sentence(tmp_path: Path) -> None:
    """Checks that cannot fail would make the run above worthless."""
    subject = LivingIndex(tmp_path / "home")
    try:
        place = Place("acme", "a")
        subject.write({place: ["Stone lies in the river.", "Birds nest in the tree."]})
        subject.check("acme")
        subject.search("acme", "Birds nest in the tree.")
        subject.live[place] = ["Stone lies in the river."]
        with pytest.raises(AssertionError):
            subject.check("acme")
        with pytest.raises(AssertionError):
            subject.counts_agree("acme")
        with pytest.raises(AssertionError, match="ghost"):
            subject.search("acme", "Birds nest in the tree.")
        subject.live[place] = ["Stone lies in the river.", "Birds nest in the tree.", "More is not there."]
        with pytest.raises(AssertionError):
            subject.check("acme")
    finally:
        subject.close()
