//! The program that measures.

fn main() -> anyhow::Result<()> {
    postern_bench::main()
}
