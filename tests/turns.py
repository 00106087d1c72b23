"""Slow tests that take turns in CI, so that it ends within an hour on two cores."""

from collections.abc import Iterable
from zlib import crc32

TURNS = 3
"""Each of them runs in one of so many runs."""
LONGEST = (  # of more than ten seconds of processor time
    "test_300_damaged_files_are_read_or_raise_an_error_of_one_sentence",
    "test_a_classifier_learns_from_good_images_and_not_from_confused_ones",
    "test_a_grid_is_trained_scored_and_refitted_with_its_best_value",
    "test_a_next_token_step_in_parts_is_the_step",
    "test_a_preempted_job_goes_on_and_ends_like_an_undisturbed_run",
    "test_a_run_of_a_relative_path_can_be_gone_on_with_and_looked_at_from_elsewhere",
    "test_a_step_has_the_numbers_of_its_step",
    "test_an_autoencoders_likelihood_is_bounded",
    "test_another_information_criterion_needs_no_new_training",
    "test_celeba_trains_from_a_folder",
    "test_classes_are_read_before_and_after_sound_and_its_speed_is_told",
    "test_dead_units_are_removed_and_every_command_takes_the_folder",
    "test_decoding_workers_and_a_cache_train_the_same_model",
    "test_each_strength_counts_at_the_best_step_of_its_own",
    "test_evaluation_and_selection_take_it",
    "test_every_layout_gives_the_same_state",
    "test_every_replica_ends_as_training_alone_does",
    "test_every_strength_has_its_row",
    "test_faces_trains_from_a_tar_and_resumes_from_the_folder_it_was_packed_from",
    "test_features_are_those_of_pytorch_fid_and_of_clean_fids_pixels",
    "test_features_logits_and_distance_are_those_of_torch_fidelity",
    "test_groups_go_through_skips_norms_and_attention_of_a_unet",
    "test_half_the_classes_missing_is_shown_as_missing",
    "test_in_float32_one_step_gradients_and_twenty_steps_agree",
    "test_in_float64_every_layout_gives_the_same_state_and_the_same_zeros",
    "test_it_learns_the_digits",
    "test_large_sets_are_compared_by_subsets",
    "test_numbers_are_the_same_again_and_stand_beside_how_they_were_taken",
    "test_points_are_evaluated_by_modes",
    "test_scikit_learns_checks_pass",
    "test_the_better_half_trains_on",
    "test_the_commands_run_it_as_processes",
    "test_the_default_experiment_draws_all_ten_digits_with_seventy_percent_zeros_in_half_its_steps",
    "test_the_evaluated_checkpoint_that_is_best_is_kept",
    "test_the_page_in_a_browser",
    "test_the_same_state_and_the_same_zeros_after_twenty_steps",
    "test_the_strength_is_chosen_by_held_out_bits",
    "test_the_target_is_enclosed_by_two_strengths",
    "test_the_useful_pixels_are_found",
    "test_two_folders_have_the_scores_of_torch_fidelitys_features",
    "test_two_processes_train_what_one_with_two_devices_trains",
)


def whose_turn_it_is(names: Iterable[str], turn: int, fast: Iterable[str] = ()) -> list[bool]:
    """Say of each test whether it runs this time.

    The longest ones take turns, each with all its cases. So do further cases of the other tests,
    whose first case always runs: here, or among the fast tests.

    Args:
        names: of the slow tests, in their order: "FILE::TEST" or "FILE::TEST[CASE]".
        turn: any whole number; runs with `TURNS` numbers in a row run every test.
        fast: the tests, FILE::TEST, that have fast cases.
    """
    seen = set(fast)
    chosen = []
    for name in names:
        test, _, _ = name.partition("[")
        is_long = test.rpartition("::")[2] in LONGEST
        takes_turns = is_long or test in seen
        seen.add(test)
        own = crc32((test if is_long else name).encode()) % TURNS
        chosen.append(not takes_turns or own == turn % TURNS)
    return chosen
