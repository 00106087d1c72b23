"""Cases of a test of which the fast suite runs only some, as others take the same way."""

from collections import Counter
from collections.abc import Iterable
from typing import Any

import pytest

FIRST_CASES = {
    "test_build_optimizer::test_a_penalty_is_the_one_that_its_name_says": 8,
    "test_build_optimizer::test_an_optimiser_is_the_one_that_its_name_says": 6,
    "test_channel_groups::test_channels_of_discriminators_and_encoders": 2,
    "test_checkpoint::test_a_checkpoint_under_another_name_is_set_aside": 5,
    "test_checkpoint::test_a_pipe_in_a_checkpoint_is_damage_and_no_wait": 5,
    "test_command_line::test_experiments_that_come_with_l1jax_can_be_run_by_name": 10,
    "test_compacting::test_images_are_the_same_and_nothing_dead_is_left": 6,
    "test_contract::test_a_tree_is_computed_leaf_by_leaf": 8,
    "test_contract::test_dtype_is_kept_and_half_precision_is_computed_in_float32": 9,
    "test_contracts::test_apply_if_finite_around_it_skips_the_whole_step": 12,
    "test_contracts::test_eight_devices_agree_with_one": 12,
    "test_contracts::test_inject_hyperparams_around_it_steps_with_the_injected_learning_rate": 12,
    "test_contracts::test_masked_and_partition_act_on_their_leaves_alone": 12,
    "test_contracts::test_multi_steps_around_it_steps_once_with_the_mean": 12,
    "test_contracts::test_other_leaves_stay_and_numpy_and_python_numbers_are_arrays": 12,
    "test_convolutions::test_parameters_outputs_and_gradients_equal_flax": 4,
    "test_convolutions::test_tiles_have_the_same_outputs_and_gradients": 2,
    "test_coupled::test_same_zeros_on_eight_devices_and_no_kernel_is_gathered": 2,
    "test_dcgan::test_images_have_the_shape_asked_for": 3,
    "test_demo::test_whole_numbers_move_the_sliders_too": 3,
    "test_diagnosis::test_nothing_is_found_in_right_compositions": 2,
    "test_diagnosis::test_wrong_compositions_are_found": 5,
    "test_directions::test_directions_are_singular_vectors_of_the_first_kernel": 3,
    "test_discriminator_loss::test_gradient_penalties": 3,
    "test_distance::test_distance_is_the_steepest_rate_of_descent": 6,
    "test_distance::test_distance_is_zero_where_a_prox_step_ends": 24,
    "test_distance::test_value_is_the_formula_and_its_derivative_the_subgradient": 12,
    "test_diversity::test_it_is_the_papers_formula": 3,
    "test_documents::test_the_code_of_a_page_runs": 6,
    "test_dropout::test_only_training_drops_and_only_if_it_is_asked_to": 3,
    "test_early_answers::test_help_a_wrong_flag_and_a_wrong_path_import_nothing_heavy": 6,
    "test_evaluate_sets::test_two_sets_are_scored_again_wherever_they_are_moved_to": 2,
    "test_examples::test_examples_in_docstrings": 10,
    "test_experiments::test_an_experiment_resolves_and_its_networks_can_be_made": 12,
    "test_flow_sampling::test_each_method_has_its_order": 3,
    "test_fourier::test_the_inverse_gives_back_what_frames_cover": 3,
    "test_gpu::test_the_exact_convolutions_are_the_librarys": 4,
    "test_l1_and_diversity::test_every_method_makes_a_task_of_images_and_of_points": 10,
    "test_largest_strength::test_dual_norm_of_the_gradient_with_the_intercept_fitted": 4,
    "test_largest_strength::test_exact_solvers_find_zero_from_there_on_only": 5,
    "test_layouts::test_a_zero_input_group_is_ignored": 6,
    "test_layouts::test_a_zero_output_group_leaves_the_bias_alone": 5,
    "test_linear_families::test_every_penalty_is_at_its_optimum": 16,
    "test_linen_layers::test_a_wrapped_layer_computes_with_what_it_really_has": 4,
    "test_linen_operations::test_a_transposed_kernel_is_that_of_the_layer": 3,
    "test_linen_operations::test_constants_become_a_bias_where_no_zeros_come_between": 5,
    "test_linen_operations::test_dead_channels_go_through": 5,
    "test_linen_operations::test_integers_stay_what_they_are": 5,
    "test_metric_probe::test_another_number_is_refused_with_the_mismatch": 5,
    "test_metric_probe::test_the_own_metric_passes_and_every_other_is_refused": 4,
    "test_model_folder::test_the_same_bits_come_back": 4,
    "test_nuclear::test_the_optimum_is_that_of_loss_and_penalty": 2,
    "test_optimum::test_reaches_the_optimum_and_its_support": 2,
    "test_packing::test_every_discriminator_packs_and_only_what_reads_images_and_labels_grows": 3,
    "test_path::test_every_way_leads_to_scikit_learns_lasso_of_every_fold": 2,
    "test_precision_and_memory::test_the_penalised_pattern_catches_every_kernel_and_nothing_else": 3,  # noqa: E501
    "test_preconditioners::test_metric_is_found_inside_wrappers": 3,
    "test_programs::test_a_program_draws_the_same_images": 4,
    "test_prox::test_convex_prox_is_non_expansive_in_its_metric": 8,
    "test_prox::test_group_prox_beats_an_optimiser_on_every_support": 3,
    "test_resizing::test_pillows_resizing_has_pillows_bits": 7,
    "test_resizing::test_pytorchs_resizing_is_pytorchs": 4,
    "test_steps::test_a_step_is_the_textbooks": 2,
    "test_streaming::test_hosts_share_the_batches_of_a_single_host": 3,
    "test_summary::test_every_parameter_is_in_one_line_and_in_the_total": 2,
    "test_transform_examples::test_examples_run": 12,
    "test_transformer::test_decoding_equals_the_pass_over_the_whole_sequence": 1,
    "test_vae::test_shapes_and_the_generator_is_the_decoders_mean": 2,
    "test_verify_module::test_a_mistake_is_noticed": 4,
    "test_weights_and_biases::test_a_run_of_another_project_or_none_is_refused": 3,
    "test_zero_target::test_every_penalty_arrives_in_200_steps": 3,
}
"""Tests, FILE::TEST, of whose costly cases only the first ones are fast, and how many."""


def slow_except(cases: Iterable[Any], *fast: Any) -> list[Any]:
    """All cases, each given by one value, with those that are not `fast` marked as slow."""
    cases = list(cases)
    unknown = [case for case in fast if case not in cases]
    assert not unknown, f"no such cases: {unknown}"
    return [pytest.param(case, marks=() if case in fast else pytest.mark.slow) for case in cases]


def mark_further_cases(item: pytest.Function, seen: Counter[str]) -> None:
    """Mark a test as slow if enough of its cases are fast without it.

    Args:
        item: the test, which has just been collected.
        seen: how many cases of each test were collected so far; this one is counted here.
    """
    name = f"{item.path.stem}::{item.originalname}"
    if name not in FIRST_CASES:
        return
    if seen[name] >= FIRST_CASES[name]:
        item.add_marker(pytest.mark.slow)
    seen[name] += 1
