//! A peer's stream as frames, from the hello on.
#![no_main]

use std::time::Duration;

use futures::io::Cursor;
use libfuzzer_sys::fuzz_target;
use tokio::runtime::{Builder, Runtime};
use trefoil_p2p::frame::{self, CONTROL_BYTES_MAX, Control, LaneFrame};

thread_local! {
    static RUNTIME: Runtime =
        Builder::new_current_thread().enable_time().build().expect("a runtime");
}

fuzz_target!(|bytes: &[u8]| {
    let mut stream = Cursor::new(bytes);
    let silence = Duration::from_secs(1);
    RUNTIME.with(|runtime| {
        runtime.block_on(async {
            while let Ok(bytes) = frame::read(&mut stream, CONTROL_BYTES_MAX, silence).await {
                match LaneFrame::decode(&bytes) {
                    // What people read of a refusal is made printable.
                    Ok(LaneFrame::Control(Control::Refusal(_))) => {}
                    Ok(LaneFrame::Control(control)) => assert_eq!(control.encode()[4..], bytes),
                    Ok(LaneFrame::Message(message)) => assert_eq!(message.encode(), bytes),
                    Err(_) => {}
                }
            }
        });
    });
});
