//! Sends through tunnels: encrypted into memory that all share, and kept only where refused.

use crate::{
    ids::Slot,
    io::{Exception, Kernel, Outcome, Send},
    limits::{SEND_BATCH, TLS_RECORD_BYTES},
};

use super::{NO_SEND, Tunnels};

/// A send of a batch, as far as it has got.
#[derive(Clone, Copy, Default)]
struct Progress {
    /// Bytes of the caller's that were taken.
    taken: usize,
    /// Bytes of the caller's in the send under way.
    under_way: usize,
    /// Where its ciphertext begins and ends; nothing where it is sent as it is.
    cipher: (usize, usize),
    /// Nothing more is to be sent of it.
    is_over: bool,
}

/// Sends to connections of which some speak TLS. What fits one record or two goes with one send for
/// each; more goes by as many rounds as it takes.
pub(super) fn send<K: Kernel>(
    kernel: &mut K,
    tunnels: &mut Tunnels,
    sends: &[Send<'_>],
    exceptions: &mut Vec<Exception>,
) {
    assert!(sends.len() <= SEND_BATCH, "a batch of {} sends", sends.len());
    let mut progress = [Progress::default(); SEND_BATCH];
    let progress = &mut progress[..sends.len()];
    while progress.iter().any(|it| !it.is_over) {
        encrypt(tunnels, sends, progress, exceptions);
        let (mut batch, mut members, mut count) = ([NO_SEND; SEND_BATCH], [0; SEND_BATCH], 0);
        for (index, it) in progress.iter().enumerate().filter(|(_, it)| !it.is_over) {
            let (start, end) = it.cipher;
            let bytes = match tunnels.has(sends[index].slot) {
                true => &tunnels.cipher.bytes()[start..end],
                false => sends[index].bytes,
            };
            (batch[count], members[count]) = (Send { slot: sends[index].slot, bytes }, index);
            count += 1;
        }
        let mut refused = std::mem::take(&mut tunnels.exceptions);
        kernel.send_batch(&batch[..count], &mut refused);
        for &index in &members[..count] {
            let it = &mut progress[index];
            it.taken += it.under_way;
            it.is_over = it.taken == sends[index].bytes.len();
        }
        for Exception { index, outcome } in refused.drain(..) {
            let index = members[index];
            progress[index].is_over = true;
            let outcome = match tunnels.has(sends[index].slot) {
                true => tunnels.on_refused(sends[index], progress[index], outcome),
                false => outcome,
            };
            exceptions.push(Exception { index, outcome });
        }
        tunnels.exceptions = refused;
    }
}

/// Encrypts the next piece of each send that is not over.
fn encrypt(
    tunnels: &mut Tunnels,
    sends: &[Send<'_>],
    progress: &mut [Progress],
    exceptions: &mut Vec<Exception>,
) {
    // Where much is kept already, less is encrypted that may have to be.
    let is_tight = tunnels.kept > tunnels.bytes_max / 2;
    let most = if is_tight { TLS_RECORD_BYTES / 4 } else { 2 * TLS_RECORD_BYTES };
    let Tunnels { by_slot, cipher, .. } = tunnels;
    cipher.clear();
    for (index, send) in sends.iter().enumerate() {
        let it = &mut progress[index];
        let Some(tunnel) = by_slot[send.slot.index()].as_deref_mut() else {
            it.under_way = send.bytes.len();
            continue;
        };
        if it.is_over {
            continue;
        }
        let outcome = if tunnel.failed || tunnel.is_handshaking() {
            Outcome::Broken
        } else if !tunnel.outgoing().is_empty() {
            Outcome::Short(it.taken)
        } else {
            let start = cipher.used();
            if let Some(under_way) = tunnel.encrypt(&send.bytes[it.taken..], most, cipher) {
                (it.under_way, it.cipher) = (under_way, (start, cipher.used()));
                continue;
            }
            Outcome::Broken
        };
        it.is_over = true;
        exceptions.push(Exception { index, outcome });
    }
}

/// Says that nothing more will be sent, if the socket has room for it.
pub(super) fn send_end<K: Kernel>(kernel: &mut K, tunnels: &mut Tunnels, slot: Slot) {
    let Tunnels { by_slot, cipher, exceptions, .. } = tunnels;
    let Some(tunnel) = by_slot[slot.index()].as_deref_mut() else { return };
    let before = tunnel.kept();
    cipher.clear();
    let can_speak = !tunnel.failed && !tunnel.is_handshaking() && tunnel.outgoing().is_empty();
    if can_speak && tunnel.encrypt_end(cipher).is_some() {
        // Whether it was taken or not, the end of the stream follows.
        kernel.send_batch(&[Send { slot, bytes: cipher.bytes() }], exceptions);
        exceptions.clear();
    }
    tunnels.recount(slot, before);
}

impl Tunnels {
    /// What the shard is told of ciphertext that the kernel did not take whole.
    fn on_refused(&mut self, send: Send<'_>, progress: Progress, outcome: Outcome) -> Outcome {
        let Tunnels { by_slot, cipher, .. } = self;
        let Some(tunnel) = by_slot[send.slot.index()].as_deref_mut() else { return outcome };
        let before = tunnel.kept();
        match outcome {
            Outcome::Short(sent) => {
                let (start, end) = progress.cipher;
                tunnel.keep(&cipher.bytes()[start + sent..end]);
            }
            Outcome::Broken => tunnel.give_up(),
        }
        self.recount(send.slot, before);
        match self.get(send.slot) {
            Some(tunnel) if !tunnel.failed => Outcome::Short(progress.taken),
            _ => Outcome::Broken,
        }
    }
}
