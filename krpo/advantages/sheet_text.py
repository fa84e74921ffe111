"""The prose of the estimator sheet; `krpo.advantages.sheet` fills in the tables. Its claims are asserted in
`tests/krpo/test_advantages_predictions.py` and `test_advantages_drift.py`.
"""

PAGE = """\
# Advantage estimators, measured

Made by `python -m krpo.advantages.sheet`; do not edit. The same numbers, with more digits, are in `estimators.csv`
and `estimators_drift.csv`. How to add an estimator: `adding-an-estimator.md`.

Every estimator turns rewards of P prompts with G answers each into advantages. All of this is simulation, not
training: it says what an estimator does to given rewards, and how much of the gradient it leaves is noise. It leaves
out clipping, KL penalties, learning rates, and what a policy does next.

## What they compute

{{formulas}}

Parameters, with their defaults, are set from YAML (`{name: krpo, process_variance: 1.0e-4}`) or the command line
(`--set estimator.process_variance=1e-4`). Those of the filter are explained in `krpo/advantages/kalman.py`.

## What they do to a group

Groups of 12. The first four columns are without chance, from one fixed batch; the others are Monte Carlo means with
standard errors (jackknife over 160 batches of 64 prompts, pass rates from Beta(1/2, 1/2), binary rewards). An
estimator with a state has seen the same prompts four times before. Lengths and partial credits are made up,
independent of the pass rate, and the greedy answer is right where the pass rate is above 1/2: mind that for `opo`,
`grpo_lead`, `sgpo` and `remax`.

- **sum, all right / all wrong**: sum of the advantages of a group whose rewards are all 1, or all 0. What is not 0
  pushes all answers of a prompt up or down, whatever they say.
- **shift**: ||A(r + 0.4) - A(r)|| / ||A(r)||, for rewards of 0 and 0.6; 0 means that only differences count.
- **scale**: k in ||A(0.6 r)|| = 0.6^k ||A(r)||; 1 follows the scale of the rewards, 0 ignores it.
- **RMS / GRPO**: root mean square of the advantages, over GRPO's. A KL weight of 0.01 acts like 0.01 divided by this.
- **order share**: share of the variance of the advantages that is due to the order of the answers alone.
- **effective n / G**: (sum |A|)^2 / (G sum A^2), mean over groups that have any advantage.
- **wrong way**: share of answers whose advantage has the opposite sign to (true reward - pass rate), where rewards
  are flipped at the rate 0.2, or have Gaussian noise of 0.1 added. Zeros are not counted as wrong.
- **wrong weight**: the same, each answer weighted by |A|: what of the push goes the wrong way.

{{behaviour}}

## Variance of the gradient

Variance of the gradient estimate, over that of the oracle baseline A_i = r_i - p, where each is scaled to make the
same progress along the true gradient; in the limit where the noise of the scores outweighs their signal. Same batches
as above. 1 is what a perfect baseline without weights reaches; an estimator that gives more weight to prompts of
middling pass rate can come out lower, as `s_grpo` does at G = 32.

{{variances}}

## What theory predicts for KRPO, checked

Exact, from the matrix of each estimator, for one prompt:

{{exact}}

- `krpo` has 3.85, 2.10, 1.57 and 1.41 times the oracle's variance at G = 2, 4, 8 and 12, against `rloo`'s G / (G -
  1). The pass rate hardly matters. The excess is worst in small groups.
- Averaged over the orders of the answers (`krpo_permavg`), KRPO is a constant times `rloo` to 0.3 % at G = 12.
  On-policy, KRPO is therefore that constant times `rloo`, plus noise of mean zero from the order.
- With equal weights (`krpo_uniform`) the predicted 1.99, 1.70, 1.45, 1.33 hold at a pass rate of 1/2 only: the first
  answer is judged against x_0 = 0, so its advantage is its reward, and the excess grows with p / (1 - p). KRPO's
  small first weight hides this. Over the Beta prior above `krpo_uniform` is noisier than `krpo` at G = 4, 8 and 16.

Cosine between the estimated and the true gradient, mean and standard error over 300 repeats (32 prompts, 200
dimensions, prompts' gradients of length about 4, score noise 0.25; all estimators see the same samples, so
differences within a row are much more certain than the errors suggest):

{{cosines}}

`rloo` is best in each row. `krpo` beats `grpo` under small Gaussian noise, where a group's standard deviation turns
pure noise into advantages of unit size, but there a mean without a standard deviation does better still. Under flips
`krpo` is below `grpo`.

## Where a filter helps: pass rates that drift

The answers of a prompt in one step are exchangeable: there is nothing to track among them. A prompt's pass rate over
steps is another matter. Here pass rates start from Beta(1/2, 1/2) and walk by N(0, 0.05^2) in each step, reflected at
0 and 1; 64 prompts, all seen in each of 20 steps, the first 5 not measured; 24 runs. Baseline error is the mean of
(b_i - p)^2. Differences are paired, since all estimators see the same rewards. Parameters are the defaults, not tuned
to the drift.

{{drift_groups}}

`krpo_persistent` and `krpo_hierarchical` have a lower baseline error and a lower gradient variance than `rloo` at G =
2 and 4, by far more than five standard errors. There is at most 1 / (G - 1) to be gained on the oracle, so the
benefit vanishes as G grows. `krpo_hierarchical` needs no prompt to be seen twice; `krpo_persistent` does, and gains
more. `beta_tracker` (SPO's baseline) ignores the group's other answers, and falls behind `rloo` in large groups.

The same at G = 4 for other drifts a step:

{{drift_rates}}

At a drift of 0.2 a step the past is worth little, and `krpo_persistent` with its default process variance is hardly
better than `rloo`; at 0.4 it is worse. `krpo_hierarchical` relies on the other prompts of the same step and keeps its
gain.

## Parts

`{baseline: NAME, scale: NAME}` composes an estimator from any baseline and any scale. A division by the group's
standard deviation after a baseline that is not the group's own mean gives an all-equal group advantages of up to 1 /
eps.

{{parts}}
"""
