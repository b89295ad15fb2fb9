"""Published numbers that docs/results.md has beside its own, in per cent, as their sources say."""

# CLEVR: model, layouts or programs that it was given, all questions, then count, compare numbers,
# exist, query and compare attributes; and where that is written. What has no source here is in
# README's table of experiments.
CLEVR = (
    ("human", "", "92.6 86.7 86.4 96.6 95.0 96.0", "NS-CL paper, table 4"),
    ("question-type mode", "", "41.8 34.6 51.0 50.2 36.0 51.3", "FiLM paper, table 1"),
    ("CNN+LSTM+SA", "none", "76.6 64.4 77.4 82.7 82.6 75.4", "FiLM paper"),
    ("N2NMN", "all", "83.7 68.5 84.9 85.7 90.0 88.7", "FiLM paper"),
    ("IEP", "9,000 programs", "88.6 79.7 79.1 89.7 92.6 96.0", "FiLM paper"),
    ("IEP", "700,000 programs", "96.9 92.7 98.7 97.1 98.1 98.9", "FiLM paper"),
    ("Stack-NMN, the original", "all", "96.6", "its README"),
    ("Stack-NMN, the original", "none", "93.0", "its README"),
    ("Stack-NMN, the original, both tasks", "all", "96.5", ""),
    ("Stack-NMN, the original, both tasks", "none", "93.9", ""),
    ("Stack-NMN, PyTorch adaptation", "all", "96.1", ""),
    ("Stack-NMN, PyTorch adaptation", "none", "89.5", ""),
    ("Stack-NMN, PyTorch adaptation, both tasks", "all", "95.9", ""),
    ("Stack-NMN, PyTorch adaptation, both tasks", "none", "90.4", ""),
    ("RN", "none", "95.5 90.1 93.6 97.8 97.1 97.9", "NS-CL paper"),
    ("FiLM", "none", "97.7 94.3 96.8 99.1 99.1 99.1", "FiLM paper"),
    ("MAC", "none", "98.9 97.2 99.4 99.5 99.3 99.5", "MAC paper"),
    ("TbD", "all programs", "99.1 97.6 99.4 99.2 99.5 99.6", "NS-CL paper"),
    ("NS-CL, 5,000 images", "none", "98.9 98.2 99.0 98.8 99.3 99.1", "NS-CL paper"),
    ("NS-VQA", "270 programs", "99.8", "its README"),
    ("MDETR", "boxes", "99.7 99.3 99.4 99.9 99.9 99.9", "its CLEVR page"),
)
# CLEVR-Ref, the stack module network's own set: boxes that are right.
CLEVR_REF = (
    ("Stack-NMN, the original", "all", "96.0", ""),
    ("Stack-NMN, the original", "none", "93.4", ""),
    ("Stack-NMN, the original, both tasks", "all", "96.2", ""),
    ("Stack-NMN, the original, both tasks", "none", "95.4", ""),
    ("Stack-NMN, PyTorch adaptation", "all", "93.2", ""),
    ("Stack-NMN, PyTorch adaptation", "none", "88.7", ""),
    ("Stack-NMN, PyTorch adaptation, both tasks", "all", "95.7", ""),
    ("Stack-NMN, PyTorch adaptation, both tasks", "none", "81.4", ""),
)
DIFFERENCE = (
    "Rows in italics are published, of full CLEVR or CLEVR-Ref: other images and questions than "
    "ours, mostly ImageNet features where ours are `cellnet`'s, larger models, far more training."
)
