//! The list of effects that `check` and `explain` print.

use std::io;

use sluice_filter::explain::Effect;

/// Writes one line for each effect, with the settings in a column of their own.
pub(crate) fn write(out: &mut dyn io::Write, effects: &[Effect]) -> io::Result<()> {
    let width = effects.iter().map(|effect| effect.setting.len()).max().unwrap_or(0);
    effects
        .iter()
        .try_for_each(|effect| writeln!(out, "    {:width$}  {}", effect.setting, effect.text))
}
