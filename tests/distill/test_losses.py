"""Every loss against arithmetic done by hand, against the library's own, in bf16, and past padding."""

from __future__ import annotations

import math

import pytest
import torch

from distill.losses import LossSettings, build_hard_loss, build_loss
from distill.losses.protocol import ListLoss
from distill.losses.settings import LossName

SOFT: tuple[LossName, ...] = ("margin-mse", "kl", "ranknet", "listnet", "lambda", "adr-mse")
HARD: tuple[LossName, ...] = ("bce", "infonce")


def loss_of(name: LossName, **options: float) -> ListLoss:
    settings = LossSettings.model_validate({"name": name, **options})
    loss = build_loss(settings) if name in SOFT else build_hard_loss(settings)
    assert loss is not None
    return loss


def one_list(loss: ListLoss, logits: list[float], labels: list[float]) -> float:
    matrix = torch.tensor([logits])
    return float(loss(matrix, torch.tensor([labels]), torch.ones_like(matrix, dtype=torch.bool)))


def test_margin_mse_is_the_mean_squared_error_of_all_differences() -> None:
    # Pairs: (0,1) 1-2 = -1, (0,2) 3-2 = 1, (1,2) 2-0 = 2; squares 1, 1, 4.
    value = one_list(loss_of("margin-mse"), [3.0, 2.0, 0.0], [2.0, 0.0, 0.0])
    assert value == pytest.approx(((1.0 - 2.0) ** 2 + (3.0 - 2.0) ** 2 + (2.0 - 0.0) ** 2) / 3)


def test_kl_is_scaled_by_the_square_of_the_temperature() -> None:
    teacher, student, temperature = [2.0, 0.0], [1.0, 0.0], 2.0
    p = math.exp(1.0) / (math.exp(1.0) + 1)
    q = math.exp(0.5) / (math.exp(0.5) + 1)
    by_hand = p * math.log(p / q) + (1 - p) * math.log((1 - p) / (1 - q))
    value = one_list(loss_of("kl", temperature=temperature), student, teacher)
    assert value == pytest.approx(4.0 * by_hand, abs=1e-6)


def test_ranknet_counts_each_ordered_pair_once() -> None:
    # Labels order 0 > 1 and 0 > 2; 1 and 2 are tied and make no pair.
    value = one_list(loss_of("ranknet"), [1.0, 2.0, -1.0], [3.0, 1.0, 1.0])
    by_hand = (math.log2(1 + math.exp(1.0)) + math.log2(1 + math.exp(-2.0))) / 2
    assert value == pytest.approx(by_hand, abs=1e-5)


def test_listnet_is_the_cross_entropy_of_two_softmaxes() -> None:
    teacher = torch.tensor([2.0, 1.0]).softmax(0)
    student = torch.tensor([0.0, 1.0]).log_softmax(0)
    assert one_list(loss_of("listnet"), [0.0, 1.0], [2.0, 1.0]) == pytest.approx(
        -float((teacher * student).sum()), abs=1e-6
    )


def test_adr_mse_compares_approximated_with_true_ranks() -> None:
    def sigmoid(value: float) -> float:
        return 1 / (1 + math.exp(-value))

    approximate = (1 + sigmoid(1.0), 1 + sigmoid(-1.0))  # logits 0 and 1: the second leads
    by_hand = ((1 - approximate[0]) ** 2 / math.log2(2) + (2 - approximate[1]) ** 2 / math.log2(3)) / 2
    assert one_list(loss_of("adr-mse"), [0.0, 1.0], [5.0, 4.0]) == pytest.approx(by_hand, abs=1e-6)


def test_lambda_loss_weighs_a_pair_by_what_it_changes_in_ndcg() -> None:
    # Two passages, best one placed second.  Gains (2^3 - 1) / maxDCG = 1 and 0; discounts 1 and log2(3).
    swap = abs(1 / 1.0 - 1 / math.log2(3))
    weight = 10.0 * swap + swap  # mu * NDCG-Loss2 + LambdaRank; for neighbours they agree
    by_hand = weight * math.log2(1 + math.exp(1.0))
    assert one_list(loss_of("lambda"), [0.0, 1.0], [1.0, -1.0]) == pytest.approx(by_hand, rel=1e-4)


def test_info_nce_leaves_other_positives_out_of_the_denominator() -> None:
    value = one_list(loss_of("infonce"), [1.0, 0.5, 0.0, -1.0], [1.0, 1.0, 0.0, 0.0])
    others = math.exp(0.0) + math.exp(-1.0)
    by_hand = (
        -math.log(math.exp(1.0) / (math.exp(1.0) + others))
        - math.log(math.exp(0.5) / (math.exp(0.5) + others))
    ) / 2
    assert value == pytest.approx(by_hand, abs=1e-6)


def test_bce_weighs_positives_as_much_as_negatives() -> None:
    def softplus(value: float) -> float:
        return math.log1p(math.exp(value))

    value = one_list(loss_of("bce"), [2.0, 1.0, -1.0], [1.0, 0.0, 0.0])
    by_hand = (softplus(-2.0) + (softplus(1.0) + softplus(-1.0)) / 2) / 2
    assert value == pytest.approx(by_hand, abs=1e-6)


@pytest.mark.parametrize("name", ["ranknet", "listnet", "lambda", "adr-mse", "margin-mse"])
def test_values_and_gradients_are_the_librarys(name: LossName) -> None:
    """The library's losses on its own model, whose logits are a table of parameters."""
    from sentence_transformers.cross_encoder import losses

    logits, labels = random_lists(seed=5, sizes=(2, 2, 2) if name == "margin-mse" else (4, 2, 3))
    made = {
        "ranknet": losses.RankNetLoss,
        "listnet": losses.ListNetLoss,
        "lambda": losses.LambdaLoss,
        "adr-mse": losses.ADRMSELoss,
        "margin-mse": losses.MarginMSELoss,
    }[name]
    table = torch.nn.ParameterList([torch.nn.Parameter(row.clone()) for row in logits])
    library = made(table_model(table))
    if name == "margin-mse":
        texts = [[f"{row} {place}" for row in range(len(table))] for place in range(2)]
        theirs = library([["q"] * len(table), *texts], torch.stack(labels))
    else:
        if name == "lambda":  # ours stretches the labels to 0 .. 3 first
            labels = [3 * (row - row.min()) / (row.max() - row.min()) for row in labels]
        docs = [[f"{row} {place}" for place in range(len(one))] for row, one in enumerate(labels)]
        theirs = library([["q"] * len(table), docs], labels)
    theirs.backward()
    padded, targets, mask = pad(logits, labels)
    padded.requires_grad_(True)
    ours = loss_of(name)(padded, targets, mask)
    ours.backward()
    assert ours.item() == pytest.approx(theirs.item(), rel=1e-5)
    assert padded.grad is not None
    for row, values in enumerate(table):
        torch.testing.assert_close(padded.grad[row, : len(values)], values.grad, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", [*SOFT, *HARD])
def test_bf16_logits_give_the_fp32_loss(name: LossName) -> None:
    logits, labels = random_lists(seed=11, sizes=(6, 4))
    padded, targets, mask = pad(logits, labels)
    rounded = padded.bfloat16()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        given = rounded.clone().requires_grad_(True)
        low = loss_of(name)(given, targets, mask)
        low.backward()
    high = loss_of(name)(rounded.float(), targets, mask)
    assert low.dtype == torch.float32
    assert low.item() == pytest.approx(high.item(), rel=1e-6)
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()


@pytest.mark.parametrize("name", [*SOFT, *HARD])
def test_padding_changes_nothing_and_gets_no_gradient(name: LossName) -> None:
    logits, labels = random_lists(seed=3, sizes=(5, 3))
    short = loss_of(name)(*pad(logits, labels))
    padded, targets, mask = pad(logits, labels, width=9)
    padded[~mask] = 123.0
    targets[~mask] = -7.0
    padded.requires_grad_(True)
    long = loss_of(name)(padded, targets, mask)
    long.backward()
    assert long.item() == pytest.approx(short.item(), rel=1e-5)
    assert padded.grad is not None
    assert torch.all(padded.grad[~mask] == 0)
    assert torch.any(padded.grad[mask] != 0)


@pytest.mark.parametrize("name", [*SOFT, *HARD])
def test_the_order_of_passages_changes_nothing(name: LossName) -> None:
    logits, labels = random_lists(seed=8, sizes=(6,))
    order = torch.tensor([3, 0, 5, 1, 4, 2])
    first = loss_of(name)(*pad(logits, labels))
    second = loss_of(name)(*pad([logits[0][order]], [labels[0][order]]))
    assert float(first) == pytest.approx(float(second), rel=1e-5)


@pytest.mark.parametrize("name", [*SOFT, *HARD])
def test_a_step_down_the_gradient_lowers_the_loss(name: LossName) -> None:
    logits, labels = random_lists(seed=21, sizes=(5, 5))
    padded, targets, mask = pad(logits, labels)
    padded.requires_grad_(True)
    before = loss_of(name)(padded, targets, mask)
    before.backward()
    assert padded.grad is not None
    after = loss_of(name)(padded.detach() - 0.05 * padded.grad, targets, mask)
    assert after.item() < before.item()


@pytest.mark.parametrize("name", [*SOFT, *HARD])
def test_a_list_of_one_passage_is_no_error(name: LossName) -> None:
    given = torch.tensor([[1.5]], requires_grad=True)
    value = loss_of(name)(given, torch.tensor([[1.0]]), torch.ones(1, 1, dtype=torch.bool))
    value.backward()
    assert torch.isfinite(value)
    assert given.grad is not None
    assert torch.isfinite(given.grad).all()


def random_lists(*, seed: int, sizes: tuple[int, ...]) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
    generator = torch.Generator().manual_seed(seed)
    logits = [torch.randn(size, generator=generator) * 3 for size in sizes]
    # Binary extremes are in every list, so that the hard losses have positives and negatives.
    labels = [torch.rand(size, generator=generator) * 0.4 for size in sizes]
    for row in labels:
        row[0] = 1.0
    return logits, labels


def pad(
    logits: list[torch.Tensor], labels: list[torch.Tensor], width: int | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    size = width or max(len(row) for row in logits)
    shape = (len(logits), size)
    padded, targets, mask = torch.zeros(shape), torch.zeros(shape), torch.zeros(shape, dtype=torch.bool)
    for row, (values, grades) in enumerate(zip(logits, labels, strict=True)):
        padded[row, : len(values)] = values
        targets[row, : len(values)] = grades
        mask[row, : len(values)] = True
    return padded, targets, mask


def table_model(table: torch.nn.ParameterList):
    """A CrossEncoder whose score of ("q", "ROW PLACE") is the parameter at that row and place."""
    from sentence_transformers import CrossEncoder

    class Table(CrossEncoder):
        def __init__(self) -> None:
            torch.nn.Module.__init__(self)
            self.table = table

        num_labels = 1
        device = torch.device("cpu")

        def preprocess(self, inputs, prompt=None, task=None):
            return {"at": torch.tensor([[int(part) for part in text.split()] for _, text in inputs])}

        def forward(self, input, **_):
            return {"scores": torch.stack([self.table[int(row)][int(place)] for row, place in input["at"]])}

    return Table()
