from pathlib import Path

import numpy as np
import pytest
import torch

from aimonk.data.images.decoding import decode
from aimonk.inference.images import predict_images
from aimonk.inference.predictor import open_model

CPU = torch.device("cpu")


@pytest.mark.parametrize("threads", [1, 3])
def test_answers_keep_the_order_of_files_and_bytes(
    threads: int, checkpoint: Path, draw_image, tmp_path: Path
) -> None:
    model = open_model(checkpoint, CPU, 1)
    contents = {f"{i}": draw_image(i) for i in range(7)}
    (tmp_path / "file.png").write_bytes(contents["4"])
    images: dict[str, Path | bytes] = contents | {
        "2": b"",
        "3": b"broken",
        "4": tmp_path / "file.png",
        "5": tmp_path / "missing.png",
    }
    batches = list(predict_images(model, iter(images.items()), 3, threads, with_features=False))
    assert [len(batch) for batch in batches] == [3, 3, 1]
    answers = {answer.image: answer for batch in batches for answer in batch}
    assert list(answers) == list(images)
    assert {name: answer.reason for name, answer in answers.items() if answer.reason} == {
        "2": "the file is empty",
        "3": "unknown image format; expected JPEG, PNG, WEBP, BMP, GIF, TIFF",
        "5": "No such file or directory",
    }
    assert all((answer.probs is None) == (answer.reason is not None) for answer in answers.values())
    (tmp_path / "one.png").write_bytes(contents["6"])
    pixels = decode(tmp_path / "one.png", model.info.image_size, model.info.resize)
    np.testing.assert_allclose(answers["6"].probs, model(pixels[None].copy())[0], rtol=1e-5)


def test_features_are_the_inputs_of_the_head(checkpoint: Path, draw_image) -> None:
    model = open_model(checkpoint, CPU, 1000)
    images = [(f"{i}", draw_image(i)) for i in range(5)]
    (answers,) = predict_images(model, iter(images), 8, 1, with_features=True)
    head = model.predictor.head
    for answer in answers:
        logits = head.weight @ torch.from_numpy(answer.features) + head.bias
        np.testing.assert_allclose(torch.sigmoid(logits).detach().numpy(), answer.probs, rtol=1e-5)


def test_a_slow_consumer_does_not_fill_the_memory(checkpoint: Path, draw_image) -> None:
    read = []

    def images():
        for i in range(100):
            read.append(i)
            yield f"{i}", draw_image(0)

    next(predict_images(open_model(checkpoint, CPU, 1), images(), 4, 2, with_features=False))
    assert len(read) <= 10
