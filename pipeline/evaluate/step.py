"""The step: shards and a model in, a report out."""

from pipeline.errors import InputError
from pipeline.evaluate.params import EvaluateParams
from pipeline.runtime.run_stage import Workspace
from pipeline.tables.contracts import MODEL_FOLDER, REPORT_FOLDER, SHARDS_FOLDER
from pipeline.tables.drops import Outcome


def evaluate(params: EvaluateParams, workspace: Workspace) -> Outcome:
    """Measure the best weights on `params.split` and write `7_report/`: `metrics.json` (see `build_metrics`),
    `predictions.parquet`, `confusion.csv`, `per_class.csv`, `subsets.csv`, three figures and `index.html`.

    A split without samples gives scores that are null, with the reason.

    Raises:
        InputError: dataset or model are missing or damaged, or the model was trained on another dataset; the message
            has both hashes.
    """
    from pipeline.evaluate.metrics import build_metrics, describe_metrics
    from pipeline.evaluate.predict import predict_split
    from pipeline.evaluate.report import Measured, write_report
    from pipeline.models.batches import check_splits, open_split, read_dataset_hash
    from pipeline.models.checkpoint import load_model
    from pipeline.models.determinism import choose_device, deterministic_mode

    source = workspace.data / MODEL_FOLDER
    model, record = load_model(source)
    root = workspace.data / SHARDS_FOLDER
    dataset = read_dataset_hash(root)
    if dataset != record.dataset:
        raise InputError(f"{source} was trained on the dataset {record.dataset}, {root} is {dataset}: train it again")
    check_splits(root)
    data = open_split(root, params.split)
    with deterministic_mode(seed=0, threads=record.params["threads"]):
        device = choose_device("cpu" if record.params["device"] == "cpu" else "auto")
        predictions = predict_split(model.to(device), data, params.batch_size, workspace.run)
    metrics = build_metrics(predictions, record.classes, params.split)
    folder = workspace.work / REPORT_FOLDER
    folder.mkdir(parents=True)
    write_report(folder, Measured(metrics, predictions, record, data), source, params.worst)
    return Outcome("sample", metrics["samples"], metrics["samples"], notes=describe_metrics(metrics))
