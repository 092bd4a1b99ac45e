"""Every edge that an invoice may move along, walked; every other refused."""

from collections.abc import Callable
from itertools import pairwise

import pytest

from alatau_pay.devnet.nodes import Devnet
from chains.models import TransferState
from merchants.models import Invoice, OutboxEvent, Shop
from merchants.states import EDGES, IllegalEdgeError, move
from settlement.clock import database_now
from tests.merchants.planted import Story

pytestmark = [pytest.mark.django_db, pytest.mark.usefixtures("app_role")]
Status = Invoice.Status
SEEN, INCLUDED, FINAL = TransferState.SEEN, TransferState.INCLUDED, TransferState.FINAL


def seen(story: Story) -> None:
    story.pay(SEEN)


def found_when_final(story: Story) -> None:
    story.pay(FINAL)


def unpaid(story: Story) -> None:
    story.end_time()
    story.expire()


def vanished(story: Story) -> None:
    story.turn(story.pay(SEEN), TransferState.DROPPED)


def confirmed(story: Story) -> None:
    story.turn(story.pay(INCLUDED), FINAL)


def a_part_alone(story: Story) -> None:
    story.pay(FINAL, percent=50)
    story.end_time()
    story.expire()


def taken_back(story: Story) -> None:
    story.turn(story.pay(FINAL), TransferState.REPLACED)


def paid_again(story: Story) -> None:
    taken_back(story)
    story.pay(FINAL)


def found_late_in_a_block(story: Story) -> None:
    story.option()
    unpaid(story)
    story.pay(INCLUDED)


def found_late_and_final(story: Story) -> None:
    story.option()
    unpaid(story)
    story.pay(FINAL)


STORIES: dict[tuple[Status, Status], Callable[[Story], None]] = {
    (Status.NEW, Status.PROCESSING): seen,
    (Status.NEW, Status.SETTLED): found_when_final,
    (Status.NEW, Status.EXPIRED): unpaid,
    (Status.PROCESSING, Status.NEW): vanished,
    (Status.PROCESSING, Status.SETTLED): confirmed,
    (Status.PROCESSING, Status.EXPIRED): a_part_alone,
    (Status.SETTLED, Status.REVERSED): taken_back,
    (Status.REVERSED, Status.SETTLED): paid_again,
    (Status.EXPIRED, Status.PROCESSING): found_late_in_a_block,
    (Status.EXPIRED, Status.SETTLED): found_late_and_final,
}
DECLARED = {(before, after) for before, targets in EDGES.items() for after in targets}
UNDECLARED = {(a, b) for a in Status for b in Status if a is not b} - DECLARED


def test_every_edge_has_its_story() -> None:
    assert set(STORIES) == DECLARED


@pytest.mark.parametrize("edge", sorted(STORIES), ids=" to ".join)
def test_an_edge_is_walked_and_told_once(
    edge: tuple[Status, Status], networks: Devnet, shop: Shop
) -> None:
    story = Story(shop)
    STORIES[edge](story)
    assert edge in pairwise(story.states)
    told = OutboxEvent.objects.filter(invoice=story.invoice).order_by("created_at")
    moves = [one.type for one in told if one.type != "invoice.payment"]
    assert moves == ["invoice.created", *(f"invoice.{state}" for state in story.states[1:])]


@pytest.mark.parametrize("edge", sorted(UNDECLARED), ids=" to ".join)
def test_an_edge_that_is_not_declared_is_refused(
    edge: tuple[Status, Status], networks: Devnet, shop: Shop
) -> None:
    invoice = Story(shop).invoice
    invoice.status = edge[0]
    with pytest.raises(IllegalEdgeError):
        move(invoice, edge[1], now=database_now())
    assert Invoice.objects.get().status == "new"
