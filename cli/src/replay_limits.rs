//! The options of `sluice replay` that limit what a filter may use.

use std::thread;
use std::time::Duration;

use sluice_sim::Limits;
use sluice_sim::replay::Interrupt;

#[derive(Debug, clap::Args)]
#[command(next_help_heading = "Limits")]
pub(crate) struct LimitArguments {
    /// Instructions of all callbacks of a trace; the replay stops and fails beyond it [default:
    /// 30 billion, and 10 million for each event of the trace]
    #[arg(long, value_name = "N")]
    pub(crate) max_instructions: Option<u64>,
    /// Time after which the command stops and fails, such as 5m [default: none]
    #[arg(long, value_name = "DURATION", value_parser = humantime::parse_duration)]
    max_time: Option<Duration>,
    /// Bytes of the module [default: 64 MiB]
    #[arg(long, value_name = "N")]
    max_module_bytes: Option<usize>,
    /// Functions of the module [default: 200000]
    #[arg(long, value_name = "N")]
    max_functions: Option<usize>,
    /// Bytes of one function of the module [default: 1 MiB]
    #[arg(long, value_name = "N")]
    max_function_bytes: Option<usize>,
    /// Local variables of one function of the module [default: 5000]
    #[arg(long, value_name = "N")]
    max_function_locals: Option<usize>,
    /// Blocks times local variables of one function of the module, and ten times the square of its
    /// loops [default: 50 million]
    #[arg(long, value_name = "N")]
    max_function_complexity: Option<usize>,
}

impl LimitArguments {
    /// The limits of the module.
    pub(crate) fn limits(&self) -> Limits {
        let default = Limits::default();
        let Limits { module_bytes, functions, function_bytes, .. } = default;
        let Limits { function_locals, function_complexity, .. } = default;
        default
            .with_module_bytes(self.max_module_bytes.unwrap_or(module_bytes))
            .with_functions(self.max_functions.unwrap_or(functions))
            .with_function_bytes(self.max_function_bytes.unwrap_or(function_bytes))
            .with_function_locals(self.max_function_locals.unwrap_or(function_locals))
            .with_function_complexity(self.max_function_complexity.unwrap_or(function_complexity))
    }

    /// Starts the time of `--max-time`, if there is one. The result ends the replays when it is
    /// over.
    pub(crate) fn start_timer(&self) -> Option<Interrupt> {
        let time = self.max_time?;
        let interrupt = Interrupt::default();
        let switch = interrupt.clone();
        // The thread ends with the program.
        thread::spawn(move || {
            thread::sleep(time);
            let time = humantime::format_duration(time);
            switch.interrupt(format!("the command has run for {time}; raise --max-time"));
        });
        Some(interrupt)
    }
}
