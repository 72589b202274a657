//! Prints the measurements, the CRC check and the signature check of an enclave image file as JSON.

use aws_nitro_enclaves_image_format::utils::{eif_reader::EifReader, get_pcrs};
use serde_json::json;
use sha2::{Digest, Sha384};

fn main() -> Result<(), String> {
    let path = std::env::args().nth(1).ok_or("usage: eif-judge FILE")?;
    let mut image = EifReader::from_eif(path)?;
    let is_signed = image.signature_section.is_some();
    let measurements = get_pcrs(
        &mut image.image_hasher,
        &mut image.bootstrap_hasher,
        &mut image.app_hasher,
        &mut image.cert_hasher,
        Sha384::new(),
        is_signed,
    )?;
    if is_signed {
        image.get_certificate_info(measurements.clone())?;
    }
    let description = json!({
        "Measurements": measurements,
        "CheckCRC": image.check_crc(),
        "SignatureCheck": image.sign_check,
        "Metadata": image.metadata,
    });
    println!("{description}");
    Ok(())
}
