"""Robustness of a model with noise: images chosen on one stream of it are scored on another.

With noise a single pass says little. Judged by one pass each, four attacks that do nothing break a sample that noise
flips with p = 2 % with 7.8 %. So an attack climbs the average over n draws (EOT: Athalye et al. 2018), goes on until a
mistake is beyond the noise, and is judged on draws that neither it nor the choice between attacks has seen.

What is beyond the noise is measured: where it moves the margin by many nats, all of a few draws may be wrong by more
than a constant while one in twenty others is right.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace

import numpy as np
import pandas as pd
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from ibrobust.attacks import Attack, Victim, victim
from ibrobust.attacks.contract import Samples, check_finite, image_found, image_within
from ibrobust.attacks.losses import margin
from ibrobust.attacks.norms import drawn_in, wide
from ibrobust.attacks.victim import HEAD_START
from ibrobust.errors import BadInput
from ibrobust.models.answers import Classifier
from ibrobust.models.bottleneck import EOT_DRAWS, Bottleneck, View
from ibrobust.models.bottleneck import view as view_of
from ibrobust.models.calls import undisturbed
from ibrobust.randomness import Draw, sample_draw
from ibrobust.robustness.card import SUBSTITUTE
from ibrobust.robustness.first_queries import clean_pass
from ibrobust.robustness.lost_gradients import about_samples, substitute, warned_of_lost, with_gradients
from ibrobust.robustness.question import (
    Accounts,
    Chosen,
    Execution,
    Progress,
    Question,
    added,
    make_question,
    settings_of_call,
    warnings_about,
)
from ibrobust.robustness.radii import Radii
from ibrobust.robustness.readings import NULL_ATTACK, READINGS, Readings
from ibrobust.robustness.results import ALL_ATTACKS
from ibrobust.robustness.samples import Arrays, LabelledData, usable_samples
from ibrobust.robustness.work import CLEAN
from ibrobust.types import Images, Labels, PerSample

SPREADS = 3.0
"""Standard deviations of the margin under noise by which a mistake has to lead, where they are more than
`HEAD_START`."""

Right = Bool[Tensor, "readings batch"]


@undisturbed()
def noisy_readings(
    model: Classifier,
    x: Arrays | LabelledData,
    y: Arrays | None = None,
    *,
    eps: Radii = "0:0.1",
    protocol: str = "strict-rand",
    attacks: Chosen = None,
    norm: str | int | float = "linf",
    view: str = "fresh",
    noise: str | None = None,
    restarts: int = 1,
    seed: int = 0,
    ids: Arrays | None = None,
    batch_size: int | None = None,
    device: str | torch.device | None = None,
    progress: Progress = lambda _attack, _done: None,
    health: str = "check",
) -> Readings:
    """For each attack, sample and radius, whether the attack's image is classified right on new noise.

    At every radius an attack works on the samples it has not yet broken beyond doubt, and its image is kept if
    the average over n draws, the same for all images of a sample, likes the label less than before. Latent noise,
    dropout and DropConnect are all on; for a model that is not of this package, whatever it draws from torch.

    Args:
        view: `fresh` asks for the expected accuracy of one pass (n = `EOT_DRAWS`), `averaged:n` for that of the
            average prediction of n passes; the other readings stand beside it.
        noise: the earlier name of `view`.
        model, x, y, eps, protocol, attacks, norm, restarts, seed, ids, batch_size, device, health: as `breaking_radii`
            takes them.

    Raises:
        BadInput: an argument cannot be used, or the model's answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    given = {"eps": eps, "norm": norm, "view": noise or view, "restarts": restarts, "seed": seed}
    settings = settings_of_call(given, protocol, attacks, usual="strict-rand")
    own = attacks if isinstance(attacks, Mapping) else None
    execution = Execution(batch_size, device, progress)
    question = make_question(model, usable_samples(x, y, ids), settings, execution, attacks=own)
    warned = warnings_about(question, health)
    results = readings_under_noise(question)
    return replace(results, card=results.card.with_warnings(warned))


def readings_under_noise(question: Question) -> Readings:
    """The answer to a question about a model whose noise is on.

    Raises:
        BadInput: the noise is off, or the model's answer has the wrong shape or is not finite.
        RunFailed: an attack raised or returned an invalid image; names the attack and the samples.
    """
    if question.settings.view == "mean":
        raise BadInput("view 'mean' is without noise: breaking_radii answers that")
    names = [reading for reading in READINGS if reading != "mean" or isinstance(question.model, Bottleneck)]
    views = {reading: question.seen if reading == "averaged" else view_of(question.model, reading) for reading in names}
    evaluation = _Evaluation(question, views)
    with question.blocks() as blocks:
        parts = [evaluation.rows(*block) for block in blocks]
    rows = pd.concat([rows for rows, _ in parts], ignore_index=True)
    return Readings(rows, question.card([accounts for _, accounts in parts]).with_warnings(warned_of_lost(rows)))


def score_draw(seed: int, ids: Int[Tensor, " batch"]) -> Draw:
    """The noise that images of these samples are scored on, and nothing else is done with."""
    return sample_draw(seed, ids).fold("score")


@dataclass(frozen=True)
class _Evaluation:
    """One question about one model; `views` are its readings."""

    question: Question
    views: dict[str, View]

    def rows(self, x: Images, y: Labels, ids: Int[Tensor, " batch"]) -> tuple[pd.DataFrame, Accounts]:
        """Rows of the table, and the queries of each attack."""
        streams = sample_draw(self.question.settings.seed, ids), score_draw(self.question.settings.seed, ids)
        judge = _Judge(self.question, self.views, x, y, *streams)
        unattacked = judge.victim("clean")
        with self.question.work.of(CLEAN, len(x)):
            logits, gradient = clean_pass(unattacked, x, y, ids, gradient=self.question.gradients)
            lead, right, doubt = judge.lead(x), judge.right(x), judge.doubt(x)
        radii = torch.tensor(self.question.settings.radii, device=x.device)
        right_AEN = {NULL_ATTACK: right[None].expand(len(radii), -1, -1)}
        lead_AEN, accounts = {NULL_ATTACK: lead[None].expand(len(radii), -1)}, {"clean": asdict(unattacked.queries)}
        lost = unattacked.lost
        for name, attack in self.question.attacks.items():
            walk = _Walk(judge, ids, x.clone(), lead.clone(), right.clone(), doubt.clone())
            with self.question.work.of(name, len(x)):
                lead_AEN[name], right_AEN[name], attacked = walk.along(name, attack, radii)
            accounts[name], lost = asdict(attacked.queries), lost | attacked.lost
            self.question.progress(name, len(x))
        if len(rows := lost.nonzero().squeeze(1)) and with_gradients(self.question.attacks):
            few = _Judge(self.question, self.views, x[rows], y[rows], streams[0][rows], streams[1][rows])
            walk = _Walk(few, ids[rows], x[rows], lead[rows], right[:, rows], doubt[rows])
            queries = self._substitute(walk, rows, radii, lead_AEN, right_AEN)
            accounts[SUBSTITUTE] = added(accounts.get(SUBSTITUTE), queries)
        best_EN = torch.stack([*lead_AEN.values()]).argmax(0)
        stacked = torch.stack([*right_AEN.values()])
        right_AEN[ALL_ATTACKS] = stacked.gather(0, best_EN[None, :, None].expand(-1, -1, stacked.shape[2], -1))[0]
        return self._table(about_samples(ids, y, logits, gradient, lost), right_AEN), accounts

    def _substitute(
        self,
        walk: "_Walk",
        rows: Tensor,
        radii: Tensor,
        lead_AEN: dict[str, Tensor],
        right_AEN: dict[str, Tensor],
    ) -> dict[str, int]:
        """Where gradients are not finite, the images of each attack that climbs them are those of the one without, if
        these lead further; that one's queries."""
        lead_EN, right_EN, attacked = walk.along(SUBSTITUTE, substitute(self.question.attacks), radii)
        for name in with_gradients(self.question.attacks):
            better = lead_EN > lead_AEN[name][:, rows]
            lead_AEN[name][:, rows] = torch.where(better, lead_EN, lead_AEN[name][:, rows])
            right_AEN[name][:, :, rows] = torch.where(better[:, None], right_EN, right_AEN[name][:, :, rows])
        return asdict(attacked.queries)

    def _table(self, about: dict[str, Tensor], right_AEN: dict[str, Tensor]) -> pd.DataFrame:
        """A row per sample, attack and radius."""
        names, radii = list(right_AEN), np.asarray(self.question.settings.radii, np.float32)
        count = len(about["sample"])
        right = torch.stack([*right_AEN.values()]).permute(3, 0, 1, 2).flatten(0, 2).cpu().numpy()
        columns = {name: np.repeat(values.cpu().numpy(), len(names) * len(radii)) for name, values in about.items()}
        attacks = pd.Categorical.from_codes(
            np.tile(np.repeat(np.arange(len(names)), len(radii)), count), pd.Index(names)
        )
        scores = {name: right[:, index] for index, name in enumerate(self.views)}
        return pd.DataFrame({**columns, "attack": attacks, "eps": np.tile(radii, count * len(names)), **scores})


@dataclass(frozen=True)
class _Judge:
    """What images are compared and scored by: streams of each sample's own that no attack draws from."""

    question: Question
    views: dict[str, View]
    x: Images
    y: Labels
    draw: Draw
    scoring: Draw

    def victim(self, purpose: str, rows: Tensor | slice = slice(None)) -> Victim:
        return victim(self.question.seen, self.draw[rows].fold(purpose), batch_size=self.question.batch_size)

    def lead(self, images: Images, rows: Tensor | slice = slice(None)) -> PerSample:
        """By how many nats the best wrong class leads over the label, on the draws that choices are made on."""
        return margin(self.victim("choice", rows).logits(images), self.y[rows])

    def doubt(self, images: Images, rows: Tensor | slice = slice(None)) -> PerSample:
        """By how many nats a mistake has to lead before noise leaves no doubt of it."""
        one_pass = victim(self.views["fresh"], self.draw[rows].fold("spread"), batch_size=self.question.batch_size)
        margins = [margin(one_pass.logits(images), self.y[rows]) for _ in range(EOT_DRAWS)]
        return (SPREADS * torch.stack(margins).std(0)).clamp(min=HEAD_START)

    def right(self, images: Images, rows: Tensor | slice = slice(None)) -> Right:
        """The score, by reading, on the draws that are for nothing else."""
        size = self.question.batch_size
        scorers = [victim(seen, self.scoring[rows], batch_size=size) for seen in self.views.values()]
        answers = [scorer.logits(images).argmax(1) for scorer in scorers]
        return torch.stack(answers) == self.y[rows]


@dataclass
class _Walk:
    """One attack on its way up the radii: each sample's best image so far, its lead and score, and what leads leave no
    doubt."""

    judge: _Judge
    ids: Int[Tensor, " batch"]
    best: Images
    lead: PerSample
    right: Right
    doubt: PerSample

    def along(
        self, name: str, attack: Attack, radii: Float[Tensor, " radii"]
    ) -> tuple[Float[Tensor, "radii batch"], Bool[Tensor, "radii readings batch"], Victim]:
        """Lead and score at each radius, and the queries of the attack."""
        judge, leads, rights = self.judge, [], []
        samples = self._samples(name)
        found = image_found(name, attack, samples, judge.question.norm) if attack.minimal else None
        for radius in radii:
            left = (self.lead <= self.doubt).nonzero().squeeze(1)
            if len(left) and radius > 0:
                if found is None:
                    within = torch.full_like(self.lead[left], radius)
                    self._keep_better(image_within(name, attack, samples[left], within, judge.question.norm), left)
                else:
                    self._keep_better(self._shortened(found, left, radius), left)
            leads.append(self.lead.clone())
            rights.append(self.right.clone())
        return torch.stack(leads), torch.stack(rights), samples.victim

    def _samples(self, name: str) -> Samples:
        judge = self.judge
        stream = judge.draw.fold(name)
        attacked = victim(judge.question.seen, stream, batch_size=judge.question.batch_size, favoured=judge.y)
        # Shared: what `_keep_better` learns of the noise at an image holds for the attack from then on.
        attacked = replace(attacked, head_start=self.doubt)
        return Samples(attacked, judge.x, judge.y, self.ids, stream)

    def _shortened(self, found: Tensor, left: Tensor, radius: Float[Tensor, ""]) -> Images:
        """A minimal attack's images, those beyond the radius drawn back to it."""
        x, norm = self.judge.x[left], self.judge.question.norm
        share = (radius / norm.distance(found[left], x).clamp(min=1e-12)).clamp(max=1).to(x.dtype)
        shortened = (x + wide(share) * (found[left] - x)).clamp(0, 1)
        return drawn_in(shortened, x, radius.expand(len(share)), norm.distance)

    def _keep_better(self, images: Images, left: Tensor) -> None:
        lead = self.judge.lead(images, left)
        check_finite(lead[:, None], self.ids[left])
        better = lead > self.lead[left]
        rows = left[better]
        if len(rows):
            self.best[rows], self.lead[rows] = images[better], lead[better]
            self.right[:, rows] = self.judge.right(images[better], rows)
            self.doubt[rows] = self.judge.doubt(images[better], rows)
