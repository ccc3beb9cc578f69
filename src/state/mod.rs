//! treewarden's own files in the volume's state directory.
//!
//! Agents can write there as well, so these files only inform, and are never a reason to delete
//! (`docs/design/threat-model.md#the-state-directory`).

#![cfg_attr(
    not(test),
    warn(clippy::arithmetic_side_effects, clippy::indexing_slicing)
)]

pub mod ledger;
pub mod outside;
pub mod trial;
pub mod volume;
