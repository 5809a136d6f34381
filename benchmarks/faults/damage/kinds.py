"""The kinds of input, in the order of the table: how each is damaged, and what reads it."""

from faults.damage import archives, checkpoints, networks, pictures, rows, written
from faults.damage.case import Case, Kind, Place

PREPARED = ("faces.h5", "data.json")
COMPARED = ("compare.json", "ensemble.json")
EVALUATED = ("compact.csv", "compact.json", "timing.json")


def no_command(case: Case, place: Place) -> list[str]:
    """Of what only a training reads: its resuming is tested elsewhere."""
    raise NotImplementedError


KINDS: dict[str, Kind] = {
    "tables": Kind(1500, rows.damage_table, rows.read_prepared, rows.command_prepare, PREPARED),
    "compressed tables": Kind(600, rows.damage_packed, rows.read_prepared, rows.command_prepare, PREPARED),
    "zips": Kind(800, archives.damage_zip, rows.read_prepared, rows.command_prepare, PREPARED),
    "tars": Kind(800, archives.damage_tar, rows.read_prepared, rows.command_prepare, PREPARED),
    "folders": Kind(500, rows.damage_folder, rows.read_prepared, rows.command_prepare, PREPARED),
    "votes": Kind(700, rows.damage_votes, rows.read_prepared_votes, rows.command_votes, PREPARED),
    "params.yaml": Kind(800, written.damage_params, written.read_parameters, written.command_params, PREPARED),
    "faces.h5": Kind(600, written.damage_faces, written.read_faces_file, written.command_faces, COMPARED),
    "predictions": Kind(600, written.damage_predictions, written.read_predicted, written.command_compare, COMPARED, 4),
    "metrics": Kind(300, written.damage_metrics, written.read_metrics, written.command_report, ("report.html",), 4),
    "times": Kind(300, written.damage_timing, written.read_times, written.command_times, (), 4),
    "histories": Kind(200, written.damage_history, written.read_curves, written.command_history, EVALUATED, 3),
    "photos": Kind(700, pictures.damage_photo, pictures.read_pictured, pictures.command_photo),
    "videos": Kind(250, pictures.damage_video, pictures.read_pictured, pictures.command_photo, (), 4),
    "exported networks": Kind(400, networks.damage_onnx, networks.read_onnx, networks.command_onnx),
    "networks in PyTorch": Kind(
        350, networks.damage_safetensors, networks.read_torch, networks.command_torch, EVALUATED, 4
    ),
    "weights to start from": Kind(250, checkpoints.damage_weights, checkpoints.read_weights, no_command, (), 0),
    "checkpoints of PyTorch": Kind(200, checkpoints.damage_torch, checkpoints.read_torch, no_command, (), 0),
    "networks in Keras": Kind(100, networks.damage_keras, networks.read_keras, networks.command_keras, EVALUATED, 3),
    "checkpoints of Keras": Kind(50, checkpoints.damage_keras, checkpoints.read_keras, no_command, (), 0),
}
