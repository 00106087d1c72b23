"""A configuration and its defaults, as rows."""

from dataclasses import replace

from l1jax.config import L1, Config, Dcgan, ImageData, Optimizer
from l1jax.reporting.configuration import configuration_rows


def changed(experiment):
    rows = configuration_rows(experiment)
    return {row.name: (row.value, row.default) for row in rows if not row.is_default}


def test_a_default_configuration_differs_in_nothing():
    assert changed(Config()) == {}
    names = [row.name for row in configuration_rows(Config())]
    assert "generator.penalty.strength" in names
    assert len(names) == len(set(names))


def test_fields_that_differ_stand_beside_their_defaults():
    generator = Optimizer(learning_rate=0.5, penalty=L1(0.25))
    experiment = replace(Config(), generator=generator, discriminator=None, steps=7)
    default = Config()
    assert changed(experiment) == {
        "generator.learning_rate": (0.5, default.generator.learning_rate),
        "generator.penalty.strength": (0.25, 0.0),
        "discriminator": (None, "Optimizer"),
        "steps": (7, default.steps),
    }


def test_of_another_kind_the_kind_and_what_differs_from_its_own_defaults_are_named():
    experiment = replace(Config(), model=Dcgan(latent_size=9), data=ImageData("photos"))
    rows = changed(experiment)
    assert rows["model.kind"] == ("Dcgan", "MlpGan")
    assert rows["model.latent_size"] == (9, Dcgan().latent_size)
    assert rows["data.path"][0] == "photos"
    assert set(rows) == {"model.kind", "model.latent_size", "data.kind", "data.path"}
