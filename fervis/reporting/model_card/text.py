"""The standing sentences of a model card: facts with their sources, true of every classifier of expressions."""

from __future__ import annotations

INTENDED = """\
The network predicts *labelled expression categories* of pictures of faces, not emotions felt. It is meant for studying
and teaching how such networks decide, where they look, and how far explanations of them can be believed. Its users are
students, teachers and researchers who read its output as a statement about the network."""

FORBIDDEN = """\
- **Forbidden in the European Union**: placing on the market, putting into service or using it to infer the emotions of
  a person at the workplace or in education, except for medical or safety reasons (Regulation (EU) 2024/1689, the AI
  Act, Art. 5(1)(f), which applies since 2 February 2025). It is not for monitoring employees, applicants or pupils.
- **Out of scope**: any decision about a person; diagnosis; lie detection; surveillance; video, where neighbouring
  frames are not independent; faces that are cut out or aligned in another way than the training data.
- A scowl is no proof of anger. How people move their faces varies with culture, situation and person, and the same
  configuration can express several emotions or none (Barrett et al. 2019, doi:10.1177/1529100619832930)."""

DATA = {
    "fer2013": """\
FER2013 (Goodfellow et al. 2013, arXiv:1307.0414): small grey pictures of faces that Google's image search gave for
words of emotion. The label is what was searched for, not what the person reported. The people shown did not consent,
and the pictures are not licensed for redistribution. Nothing is recorded of age, gender or origin, so that fairness
cannot be audited on it. Some pictures show no face, some are wholly of one grey, some are copies of each other, and
labels are noisy: raters asked again (FER+, Barsoum et al. 2016) often chose another class.""",
    "synthetic": """\
Faces drawn by a program from action units. No person is shown. What is measured on them says nothing about photographs
of people.""",
}
DATA["faces"] = DATA["synthetic"]  # its name in fervis 0.1

ETHICS = """\
Reading expressions off faces invites people to take a guess about a label for knowledge of a mind. Errors need not be
spread evenly: the table of classes says for which labels they are frequent; for which people is unknown where the data
record nothing of them. Weights can carry traces of the pictures they were trained on."""

METRIC_TEXT = """\
Accuracy; macro-F1 (the mean of the classes' F1); recall, precision and F1 of each class; expected calibration error of
the most probable class (ECE; Guo et al. 2017, arXiv:1706.04599); negative log-likelihood (NLL) and Brier score;
confusion matrix. Intervals are bootstrap intervals over images; identical images are drawn together. They are
percentiles, for ECE reflected at its estimate, which is biased upwards and may lie above its interval; where a network
is nearly calibrated, that interval is too narrow. Intervals are about the choice of test images, not about the seed of
the training."""
