//! Bounds on what a module costs to compile, checked before it is compiled.
//!
//! The compiler's time and memory grow with the size of a function. They also grow with the number of
//! blocks times the number of local variables, and with the square of the number of loops. Measured:
//! 16,000 loops take about a minute in 300 KB of code, and 100,000 blocks with 5000 variables take 3.4
//! GB in 1 MB of code. The bounds are far above what compilers produce: the largest function of a Go
//! filter with the standard library has 25 KB and 17 local variables.

use wasmparser::{FunctionBody, Import, Operator, Parser, Payload, TypeRef};

use crate::error::ModuleError;
use crate::limits::Limits;

/// Fails if the module, or one of its functions, is too large. A module that cannot be parsed is left
/// to the compiler, whose message is better.
pub(crate) fn check(wasm: &[u8], limits: &Limits) -> Result<(), ModuleError> {
    at_most(&|| "the module".to_owned(), wasm.len(), "bytes", limits.module_bytes, MODULE)?;
    let (mut imported, mut index) = (0_u32, 0_u32);
    for payload in Parser::new(0).parse_all(wasm) {
        match payload {
            Ok(Payload::ImportSection(imports)) => {
                let is_function = |import: &Import<'_>| matches!(import.ty, TypeRef::Func(_));
                let functions = imports.into_imports().flatten().filter(is_function);
                imported = functions.count() as u32;
            }
            Ok(Payload::CodeSectionStart { count, .. }) => {
                let what = || "the module".to_owned();
                at_most(&what, count as usize, "functions", limits.functions, FUNCTIONS)?;
            }
            Ok(Payload::CodeSectionEntry(body)) => {
                check_function(imported.saturating_add(index), &body, limits)?;
                index += 1;
            }
            Ok(_) => {}
            Err(_) => return Ok(()),
        }
    }
    Ok(())
}

fn check_function(index: u32, body: &FunctionBody<'_>, limits: &Limits) -> Result<(), ModuleError> {
    let what = || format!("function {index}");
    let bytes = body.range().len();
    at_most(&what, bytes, "bytes", limits.function_bytes, FUNCTION)?;
    let Ok(locals) = body.get_locals_reader() else { return Ok(()) };
    let mut count = 0_usize;
    for local in locals {
        let Ok((repeated, _)) = local else { return Ok(()) };
        count = count.saturating_add(repeated as usize);
    }
    at_most(&what, count, "local variables", limits.function_locals, LOCALS)?;
    let complexity = complexity(body, count);
    at_most(&what, complexity, "units of complexity", limits.function_complexity, COMPLEXITY)
}

/// What the control flow of a function costs the compiler: blocks times local variables, and ten
/// times the square of the number of loops.
fn complexity(body: &FunctionBody<'_>, locals: usize) -> usize {
    let Ok(operators) = body.get_operators_reader() else { return 0 };
    let (mut blocks, mut loops) = (1_usize, 0_usize);
    for operator in operators {
        match operator {
            Ok(Operator::Loop { .. }) => loops += 1,
            Ok(Operator::Block { .. } | Operator::If { .. } | Operator::BrIf { .. }) => blocks += 1,
            Ok(Operator::BrTable { targets }) => blocks += targets.len() as usize,
            Ok(_) => {}
            Err(_) => return 0,
        }
    }
    let of_loops = loops.saturating_mul(loops).saturating_mul(10);
    (blocks + loops).saturating_mul(locals.max(1)).saturating_add(of_loops)
}

const MODULE: &str = "Limits::module_bytes (--max-module-bytes)";
const FUNCTIONS: &str = "Limits::functions (--max-functions)";
const FUNCTION: &str = "Limits::function_bytes (--max-function-bytes)";
const COMPLEXITY: &str = "Limits::function_complexity (--max-function-complexity)";
const LOCALS: &str = "Limits::function_locals (--max-function-locals)";

fn at_most(
    what: &dyn Fn() -> String,
    found: usize,
    unit: &'static str,
    limit: usize,
    option: &'static str,
) -> Result<(), ModuleError> {
    if found <= limit {
        return Ok(());
    }
    let (found, limit) = (found as u64, limit as u64);
    Err(ModuleError::TooLarge { what: what(), found, unit, limit, option })
}
