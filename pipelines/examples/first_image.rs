//! The shortest program: one image from a prompt, with the model inside the library.
//!
//! ```sh
//! cargo run --example first_image
//! ```

use nextscale_pipelines::{Generator, Request};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let model = Generator::open("default")?;
    let image = model.generate(&Request::prompt("a red apple").seed(7))?;
    image.image()?.save("apple.png")?;
    Ok(())
}
