//! Which CUDA card a process takes.

use super::choice::DeviceChoice;
use super::cuda::{self, Card, Cuda};
use crate::error::ModelError;

/// The CUDA card that a choice means here; none for the CPU and for other GPUs.
///
/// # Errors
/// `cuda` without a card of that number.
pub fn card_of(choice: DeviceChoice) -> Result<Option<(usize, Card)>, ModelError> {
    local_card(choice, 0)
}

/// As [`card_of`], for the process of this number among those on the machine.
pub(super) fn local_card(
    choice: DeviceChoice,
    local_rank: usize,
) -> Result<Option<(usize, Card)>, ModelError> {
    if matches!(choice, DeviceChoice::Cpu | DeviceChoice::Gpu(_)) {
        return Ok(None);
    }
    let mut cards = match cuda::find() {
        Cuda::Cards(cards) => cards,
        _ if choice == DeviceChoice::Auto => return Ok(None),
        missing => {
            return Err(ModelError::refused_with(
                format!(
                    "--device {choice} is not possible: {}",
                    missing.missing().unwrap_or_default()
                ),
                "use `--device cpu`, or `auto` to take a card only where there is one",
            ));
        }
    };
    let number = number_of(choice, local_rank, cards.len())?;
    Ok(Some((number, cards.swap_remove(number))))
}

/// The number of the card that a choice means among so many. Without a number it is that of the process on its machine, or the only
/// card: launchers such as `srun --gpus-per-task=1` show each process its own one alone.
fn number_of(choice: DeviceChoice, local_rank: usize, cards: usize) -> Result<usize, ModelError> {
    let (number, whose, hint) = match choice {
        DeviceChoice::Cuda(Some(number)) => (number, "", "`nextscale devices` lists the cards"),
        _ if cards == 1 => (0, "", ""),
        _ => (
            local_rank,
            " for this process, which takes the one of its local rank",
            "start as many processes on a machine as it has cards, or name a card: --device cuda:0",
        ),
    };
    if number < cards {
        return Ok(number);
    }
    let last = cards.saturating_sub(1);
    let message = format!("there is no card {number}{whose}: the numbers go from 0 to {last}");
    Err(ModelError::refused_with(message, hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_process_takes_the_card_of_its_local_rank() {
        let number = |choice, local_rank, cards| {
            number_of(choice, local_rank, cards).map_err(|error| error.to_string())
        };
        for choice in [DeviceChoice::Cuda(None), DeviceChoice::Auto] {
            assert_eq!(number(choice, 0, 4), Ok(0));
            assert_eq!(number(choice, 3, 4), Ok(3));
            assert_eq!(number(choice, 3, 1), Ok(0));
            let error = number(choice, 4, 4).unwrap_err();
            assert!(error.contains("no card 4 for this process"), "{error}");
        }
        let second = DeviceChoice::Cuda(Some(1));
        assert_eq!(number(second, 0, 2), Ok(1));
        assert_eq!(number(second, 3, 2), Ok(1));
        let error = number(second, 0, 1).unwrap_err();
        assert_eq!(error, "there is no card 1: the numbers go from 0 to 0");
    }
}
