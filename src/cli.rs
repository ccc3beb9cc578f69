//! To come.
use std::process::ExitCode;
/// To come.
pub fn main() -> ExitCode {
    ExitCode::SUCCESS
}
