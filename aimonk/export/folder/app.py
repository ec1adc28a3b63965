"""A page that shows the attributes of an image: pip install gradio, then python app.py"""

from pathlib import Path

import gradio
from decoding import decode
from predict import MODEL, Model

model = Model(MODEL, threads=0)


def predict(path: str) -> tuple[str, dict[str, float]]:
    """The attributes present, and the probability of each."""
    try:
        pixels = decode(Path(path), model.size, model.resize)
    except ValueError as error:
        raise gradio.Error(f"{error}") from None
    probs, decisions = (values[0] for values in model(pixels[None]))
    present = [name for name, yes in zip(model.attributes, decisions, strict=True) if yes]
    return ", ".join(present) or "nothing", dict(zip(model.attributes, map(float, probs), strict=True))


page = gradio.Interface(
    predict,
    gradio.Image(type="filepath", label="image"),
    [gradio.Textbox(label="present"), gradio.Label(label="probabilities")],
    title="Attributes of an image",
    description="An attribute is present where its probability reaches its threshold: "
    + ", ".join(f"{n} {t:.2f}" for n, t in zip(model.attributes, model.thresholds, strict=True)),
    flagging_mode="never",
)

if __name__ == "__main__":
    page.launch()
