"""Events as TensorBoard finds them: records of its protocol buffers."""

import io
import struct
import sys
import wave

import numpy as np
import pytest
from PIL import Image

from l1jax.training.tensorboard import open_events
from l1jax.training.weight_histograms import nonzero_histogram

WEIGHTS = np.array([0.0, -1.0, 0.5, 0.0, 3.0, 0.25, 0.0, 0.5], np.float32)


def read_events(folder):
    from tensorboardX.proto.event_pb2 import Event

    events = []
    for path in sorted(folder.iterdir()):
        data = path.read_bytes()
        while data:
            (length,) = struct.unpack("<Q", data[:8])  # then a checksum, the event, and another
            events.append(Event.FromString(data[12 : 12 + length]))
            data = data[16 + length :]
    return events


def values(folder):
    """(step, summary value) of all events."""
    return [(event.step, value) for event in read_events(folder) for value in event.summary.value]


def picture(path, mode="RGB"):
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (6, 9, len(mode)), np.uint8)
    Image.fromarray(pixels.squeeze()).save(path)
    return pixels


@pytest.mark.parametrize(("mode", "channels"), [("L", 1), ("RGB", 3), ("RGBA", 4)])
def test_a_grid_is_the_picture_in_the_file(mode, channels, tmp_path):
    pixels = picture(tmp_path / "grid.png", mode)
    with open_events(tmp_path / "events", 0, print) as tracker:
        tracker.grid(70, tmp_path / "grid.png")
    ((step, value),) = values(tmp_path / "events")
    assert (step, value.tag) == (70, "samples")
    image = value.image
    assert (image.height, image.width, image.colorspace) == (6, 9, channels)
    with Image.open(io.BytesIO(image.encoded_image_string)) as stored:
        np.testing.assert_array_equal(np.asarray(stored), pixels.squeeze())


def test_sound_is_the_wav_in_the_file(tmp_path):
    samples = np.arange(-600, 600, dtype="<i2").tobytes()
    with wave.open(str(tmp_path / "a.wav"), "wb") as file:
        file.setparams((1, 2, 11_025, 0, "NONE", ""))
        file.writeframes(samples)
    with open_events(tmp_path / "events", 0, print) as tracker:
        tracker.sound(70, tmp_path / "a.wav")
    ((step, value),) = values(tmp_path / "events")
    assert (step, value.tag) == (70, "sound")
    audio = value.audio
    assert (audio.sample_rate, audio.num_channels, audio.length_frames) == (11_025, 1, 1200)
    assert audio.content_type == "audio/wav"
    with wave.open(io.BytesIO(audio.encoded_audio_string)) as stored:
        assert stored.readframes(1200) == samples


def test_a_histogram_counts_what_is_not_zero(tmp_path):
    with open_events(tmp_path, 0, print) as tracker:
        tracker.histograms(30, {"generator/nonzero/kernel": nonzero_histogram(WEIGHTS)})
    ((step, value),) = values(tmp_path)
    assert (step, value.tag) == (30, "generator/nonzero/kernel")
    histogram = value.histo
    assert (histogram.num, histogram.min, histogram.max) == (5, -1, 3)
    assert histogram.sum == pytest.approx(3.25)
    assert histogram.sum_squares == pytest.approx(1 + 0.25 + 9 + 0.0625 + 0.25)
    # A bucket holds what is above the limit before it and not above its own.
    limits = np.array(histogram.bucket_limit)
    for i, (limit, count) in enumerate(zip(limits, histogram.bucket, strict=True)):
        lower = limits[i - 1] if i else histogram.min
        assert count == sum(lower <= w < limit or w == limit == 3 for w in WEIGHTS[WEIGHTS != 0])


def test_an_alarm_is_a_text(tmp_path):
    with open_events(tmp_path, 0, print) as tracker:
        tracker.alarm(40, "dead layer", "no unit changes the output")
    ((step, value),) = values(tmp_path)
    assert step == 40
    assert value.metadata.plugin_data.plugin_name == "text"
    assert list(value.tensor.string_val) == [b"no unit changes the output"]


def test_events_begin_after_the_steps_so_far(tmp_path):
    with open_events(tmp_path, 20, print):
        pass
    version, start = read_events(tmp_path)
    assert version.file_version == "brain.Event:2"
    # TensorBoard drops what earlier files have from this step on.
    assert (start.step, start.session_log.status) == (21, start.session_log.START)


def test_a_full_disk_or_a_lost_grid_is_told_once(tmp_path, monkeypatch):
    picture(tmp_path / "grid.png")
    said = []
    with open_events(tmp_path / "events", 0, said.append) as tracker:
        tracker.metrics(10, {"loss": 1.0})

        def full(*_):
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as context:
            context.setattr("tensorboardX.record_writer.RecordWriter.flush", full)
            tracker.grid(20, tmp_path / "grid.png")
        tracker.histograms(30, {"w": nonzero_histogram(WEIGHTS)})
        tracker.alarm(30, "name", "sentence")
        tracker.metrics(30, {"loss": 1.0})
    assert len(said) == 1
    assert "No space left on device" in said[0]
    assert "from step 20 on it has no events" in said[0]
    assert max(step for step, _ in values(tmp_path / "events")) <= 20


class NoTorch:
    """Finds nothing, and raises if PyTorch is looked for."""

    def find_spec(self, name, path, target=None):
        assert name != "torch"


def test_pytorch_is_not_imported_for_events(tmp_path, monkeypatch):
    monkeypatch.setattr(sys, "meta_path", [NoTorch(), *sys.meta_path])
    for name in [*sys.modules]:
        if name.partition(".")[0] in ("torch", "tensorboardX"):
            monkeypatch.delitem(sys.modules, name)
    with open_events(tmp_path, 0, print) as tracker:
        tracker.metrics(1, {"loss": 2.0})
    assert [value.simple_value for _, value in values(tmp_path)] == [2.0]
