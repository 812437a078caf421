//! The registrations and bindings that exist. Split into shards by NPIID: everything that one interface is about lies
//! in one shard, so interfaces do not disturb each other, and a match is looked up, not searched for.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::iter::successors;
use core::time::Duration;

use smallvec::SmallVec;
use wdk_nmr_sys::{HANDLE, NPIID};

use crate::calls::Calls;
use crate::handle::{self, Key, Kind};
use crate::life::{Breach, Life, Side};
use crate::module::{Opaque, Registered};
use crate::platform::Platform;
use crate::report::{BindingReport, RegistrationReport};
use crate::violation::Callback;

/// A table whose entries are named by slot and generation.
pub(crate) struct Table<T> {
    slots: Vec<Slot<T>>,
    free: Vec<u32>,
}

struct Slot<T> {
    generation: u32,
    value: Option<T>,
}

impl<T> Table<T> {
    const fn new() -> Self {
        Self { slots: Vec::new(), free: Vec::new() }
    }

    /// The slot and generation of the new entry, or `None` if the table is full.
    fn insert(&mut self, value: T) -> Option<(u32, u32)> {
        let slot = match self.free.pop() {
            Some(slot) => slot,
            None if self.slots.len() < handle::MAX_SLOTS => {
                self.slots.push(Slot { generation: 1, value: None });
                (self.slots.len() - 1) as u32
            }
            None => return None,
        };
        let entry = &mut self.slots[slot as usize];
        entry.value = Some(value);
        Some((slot, entry.generation))
    }

    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        let slot = self.slots.get(key.slot as usize)?;
        slot.value.as_ref().filter(|_| slot.generation == key.generation)
    }

    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        let slot = self.slots.get_mut(key.slot as usize)?;
        slot.value.as_mut().filter(|_| slot.generation == key.generation)
    }

    /// Drops an entry where it lies.
    fn remove(&mut self, key: Key) {
        if self.get(key).is_some() {
            let slot = &mut self.slots[key.slot as usize];
            slot.generation = handle::next_generation(slot.generation);
            slot.value = None;
            self.free.push(key.slot);
        }
    }

    /// The key of what lies in a slot now.
    fn key(&self, shard: u8, slot: u32) -> Key {
        Key { shard, slot, generation: self.slots[slot as usize].generation }
    }

    fn iter(&self, shard: u8) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(move |(slot, Slot { generation, value })| {
            let key = Key { shard, slot: slot as u32, generation: *generation };
            value.as_ref().map(|value| (key, value))
        })
    }
}

/// No slot.
const END: u32 = u32::MAX;

/// A list through the entries of a table, oldest first. It takes no memory of its own, and an entry leaves it at once
/// wherever it stands.
pub(crate) struct List {
    first: u32,
    last: u32,
    length: u32,
}

/// An entry's place in a list.
#[derive(Clone, Copy)]
pub(crate) struct Link {
    previous: u32,
    next: u32,
}

const UNLINKED: Link = Link { previous: END, next: END };

/// What can stand in lists, by the side that the list belongs to.
pub(crate) trait Linked {
    fn link(&mut self, side: Side) -> &mut Link;
    fn next(&self, side: Side) -> u32;
}

impl List {
    const EMPTY: Self = Self { first: END, last: END, length: 0 };

    pub(crate) fn len(&self) -> usize {
        self.length as usize
    }

    fn append<T: Linked>(&mut self, table: &mut Table<T>, side: Side, slot: u32) {
        table.set_link(slot, side, |link| *link = Link { previous: self.last, next: END });
        table.set_link(self.last, side, |link| link.next = slot);
        if self.first == END {
            self.first = slot;
        }
        self.last = slot;
        self.length += 1;
    }

    /// Takes out the entry that had this link.
    fn unlink<T: Linked>(&mut self, table: &mut Table<T>, side: Side, Link { previous, next }: Link) {
        table.set_link(previous, side, |link| link.next = next);
        table.set_link(next, side, |link| link.previous = previous);
        if previous == END {
            self.first = next;
        }
        if next == END {
            self.last = previous;
        }
        self.length -= 1;
    }

    fn slots<T: Linked>(&self, table: &Table<T>, side: Side) -> impl Iterator<Item = u32> {
        let slot = |slot| (slot != END).then_some(slot);
        successors(slot(self.first), move |current| slot(table.value(*current)?.next(side)))
    }
}

impl<T: Linked> Table<T> {
    fn value(&self, slot: u32) -> Option<&T> {
        self.slots.get(slot as usize)?.value.as_ref()
    }

    fn set_link(&mut self, slot: u32, side: Side, f: impl FnOnce(&mut Link)) {
        if let Some(value) = self.slots.get_mut(slot as usize).and_then(|slot| slot.value.as_mut()) {
            f(value.link(side));
        }
    }
}

/// The registrations of one interface that take part in the matching.
struct Interface {
    clients: List,
    providers: List,
}

impl Interface {
    const EMPTY: Self = Self { clients: List::EMPTY, providers: List::EMPTY };

    fn side(&mut self, side: Side) -> &mut List {
        match side {
            Side::Client => &mut self.clients,
            Side::Provider => &mut self.providers,
        }
    }
}

/// Registrations or bindings. Most modules have few peers: four take no allocation.
pub(crate) type Keys = SmallVec<[Key; 4]>;

/// Detach callbacks that are to be called.
pub(crate) type Detaches = SmallVec<[(Key, Side); 4]>;

/// One registration.
pub(crate) struct Registration<E> {
    pub(crate) module: Registered,
    /// Its place among the registrations of its interface and side.
    link: Link,
    pub(crate) since: Duration,
    /// Its bindings, in the order in which they were offered: no order may depend on the numbers of slots, or a seed
    /// would not repeat it.
    pub(crate) bindings: List,
    /// When its NmrDeregister* was called.
    pub(crate) deregistering: Option<Duration>,
    pub(crate) waiters: u32,
    /// Set when it is deregistering and the last binding is gone. Made by the first waiter.
    pub(crate) drained: Option<Arc<E>>,
    /// Its image has gone away: it cannot be called any more.
    pub(crate) image_gone: bool,
    /// A change of its structure has been reported.
    pub(crate) change_reported: bool,
}

impl<E> Registration<E> {
    /// Whether its deregistration is complete (R63).
    pub(crate) fn is_drained(&self) -> bool {
        self.deregistering.is_some() && self.bindings.len() == 0
    }

    /// Whether its structure is found to have changed for the first time (R10).
    pub(crate) fn has_changed<P: Platform>(&mut self, platform: &P) -> bool {
        !self.module.is_unchanged(platform) && !core::mem::replace(&mut self.change_reported, true)
    }

    /// What a report says of it, but for its image.
    pub(crate) fn describe(&self, key: Key, now: Duration) -> RegistrationReport {
        RegistrationReport {
            module: self.module.describe(registration_handle(self.module.side(), key).addr()),
            bindings: self.bindings.len(),
            age: now.saturating_sub(self.since),
            deregistering: self.deregistering.map(|since| now.saturating_sub(since)),
            waiters: self.waiters,
        }
    }
}

/// One binding.
pub(crate) struct Binding {
    /// Its places among the bindings of its client and of its provider.
    links: [Link; 2],
    pub(crate) client: Key,
    pub(crate) provider: Key,
    pub(crate) life: Life,
    /// When it was offered or, later, when its detach began.
    pub(crate) since: Duration,
    pub(crate) client_context: Opaque,
    pub(crate) provider_context: Opaque,
    /// The thread in ClientAttachProvider.
    pub(crate) offering: u64,
    /// Callbacks in progress and their threads, innermost last. Two of one binding run at once at most: the provider's
    /// attach callback inside the client's.
    pub(crate) running: [Option<(Callback, u64)>; 2],
    /// What the client and the provider call in each other, where a test says.
    calls: [Calls; 2],
}

impl Binding {
    pub(crate) fn registration(&self, side: Side) -> Key {
        match side {
            Side::Client => self.client,
            Side::Provider => self.provider,
        }
    }

    pub(crate) fn context(&self, side: Side) -> Opaque {
        match side {
            Side::Client => self.client_context,
            Side::Provider => self.provider_context,
        }
    }

    pub(crate) fn calls(&mut self, side: Side) -> &mut Calls {
        &mut self.calls[side as usize]
    }

    /// A side begins a call into its peer.
    pub(crate) fn call_begins(&mut self, side: Side, thread: u64) -> Option<Breach> {
        let inside = self.running.contains(&Some((Callback::detach(side), thread)));
        self.calls[side as usize].begin(&self.life, side, thread, inside)
    }

    pub(crate) fn starts_running(&mut self, callback: Callback, thread: u64) {
        if let Some(free) = self.running.iter_mut().find(|running| running.is_none()) {
            *free = Some((callback, thread));
        }
    }

    pub(crate) fn stops_running(&mut self, callback: Callback, thread: u64) {
        if let Some(running) = self.running.iter_mut().rfind(|running| **running == Some((callback, thread))) {
            *running = None;
        }
    }
}

impl<E> Linked for Registration<E> {
    fn link(&mut self, _: Side) -> &mut Link {
        &mut self.link
    }

    fn next(&self, _: Side) -> u32 {
        self.link.next
    }
}

impl Linked for Binding {
    fn link(&mut self, side: Side) -> &mut Link {
        &mut self.links[side as usize]
    }

    fn next(&self, side: Side) -> u32 {
        self.links[side as usize].next
    }
}

/// Everything about the interfaces whose NPIID falls into it.
pub(crate) struct Shard<E> {
    number: u8,
    interfaces: BTreeMap<NPIID, Interface>,
    pub(crate) registrations: Table<Registration<E>>,
    pub(crate) bindings: Table<Binding>,
}

impl<E> Shard<E> {
    pub(crate) fn new(number: u8) -> Self {
        Self { number, interfaces: BTreeMap::new(), registrations: Table::new(), bindings: Table::new() }
    }

    /// Adds a registration. Returns it and the registrations of the other side that it is to be offered to or that are
    /// to be offered to it: those that were there before it, oldest first (R4).
    pub(crate) fn register(&mut self, module: Registered, now: Duration) -> Option<(Key, Keys)> {
        let registration = Registration {
            module,
            link: UNLINKED,
            since: now,
            bindings: List::EMPTY,
            deregistering: None,
            waiters: 0,
            drained: None,
            image_gone: false,
            change_reported: false,
        };
        let (slot, generation) = self.registrations.insert(registration)?;
        let side = module.side();
        let interface = self.interfaces.entry(module.npi).or_insert(Interface::EMPTY);
        interface.side(side).append(&mut self.registrations, side, slot);
        let peers = interface.side(side.peer()).slots(&self.registrations, side.peer());
        let peers = peers.map(|slot| self.registrations.key(self.number, slot)).collect();
        Some((Key { shard: self.number, slot, generation }, peers))
    }

    /// Takes a registration out of the matching: nothing is offered to it any more (R41).
    fn withdraw(&mut self, key: Key) {
        let Some(registration) = self.registrations.get_mut(key) else { return };
        let Registered { npi, .. } = registration.module;
        let (side, link) = (registration.module.side(), core::mem::replace(&mut registration.link, UNLINKED));
        if let Some(interface) = self.interfaces.get_mut(&npi) {
            interface.side(side).unlink(&mut self.registrations, side, link);
            if interface.clients.len() + interface.providers.len() == 0 {
                self.interfaces.remove(&npi);
            }
        }
    }

    /// Begins the end of a registration. Returns the detach callbacks that it owes now, older bindings first, or `None`
    /// if that has begun already.
    pub(crate) fn deregister(&mut self, key: Key, now: Duration) -> Option<Detaches> {
        let registration = self.registrations.get_mut(key)?;
        if registration.deregistering.is_some() {
            return None;
        }
        registration.deregistering = Some(now);
        self.withdraw(key);
        let mut detaches = Detaches::new();
        for key in self.bindings_of(key) {
            if let Some(binding) = self.bindings.get_mut(key)
                && binding.life.deregister()
            {
                binding.since = now;
                detaches.extend([(key, Side::Client), (key, Side::Provider)]);
            }
        }
        Some(detaches)
    }

    /// The bindings of a registration, oldest first.
    pub(crate) fn bindings_of(&self, key: Key) -> Keys {
        let Some(registration) = self.registrations.get(key) else { return Keys::new() };
        let slots = registration.bindings.slots(&self.bindings, registration.module.side());
        slots.map(|slot| self.bindings.key(self.number, slot)).collect()
    }

    /// A waiter leaves a registration whose deregistration is complete; the last one takes it along. True if there is
    /// nothing to wait for.
    pub(crate) fn leave_if_drained(&mut self, key: Key) -> bool {
        let Some(registration) = self.registrations.get_mut(key) else { return true };
        if !registration.is_drained() {
            return false;
        }
        registration.waiters -= 1;
        if registration.waiters == 0 {
            self.remove_registration(key);
        }
        true
    }

    /// Forgets a registration.
    pub(crate) fn remove_registration(&mut self, key: Key) {
        if self.registrations.get(key).is_some_and(|registration| registration.deregistering.is_none()) {
            self.withdraw(key);
        }
        self.registrations.remove(key);
    }

    /// Adds a binding in state Offered, unless one of the two is ending or gone (R41).
    pub(crate) fn offer(&mut self, client: Key, provider: Key, thread: u64, now: Duration) -> Option<Key> {
        let open = |key| self.registrations.get(key).is_some_and(|registration| registration.deregistering.is_none());
        if !open(client) || !open(provider) {
            return None;
        }
        let null = Opaque(core::ptr::null_mut());
        let (slot, generation) = self.bindings.insert(Binding {
            links: [UNLINKED; 2],
            client,
            provider,
            life: Life::new(),
            since: now,
            client_context: null,
            provider_context: null,
            offering: thread,
            running: [None; 2],
            calls: [Calls::default(); 2],
        })?;
        for (side, key) in [(Side::Client, client), (Side::Provider, provider)] {
            if let Some(registration) = self.registrations.get_mut(key) {
                registration.bindings.append(&mut self.bindings, side, slot);
            }
        }
        Some(Key { shard: self.number, slot, generation })
    }

    /// Removes a binding. Returns the events of the registrations whose end that was.
    pub(crate) fn remove_binding(&mut self, key: Key) -> [Option<Arc<E>>; 2] {
        let Some(binding) = self.bindings.get(key) else { return [None, None] };
        let Binding { links, client, provider, .. } = *binding;
        self.bindings.remove(key);
        [(Side::Client, client), (Side::Provider, provider)].map(|(side, registration)| {
            let registration = self.registrations.get_mut(registration)?;
            registration.bindings.unlink(&mut self.bindings, side, links[side as usize]);
            if registration.is_drained() { registration.drained.clone() } else { None }
        })
    }

    /// Whether one of the two registrations of a binding is being deregistered.
    pub(crate) fn is_ending(&self, binding: &Binding) -> bool {
        [binding.client, binding.provider]
            .iter()
            .any(|side| self.registrations.get(*side).is_none_or(|registration| registration.deregistering.is_some()))
    }

    pub(crate) fn registration_keys(&self) -> impl Iterator<Item = (Key, &Registration<E>)> {
        self.registrations.iter(self.number)
    }

    pub(crate) fn binding_keys(&self) -> impl Iterator<Item = (Key, &Binding)> {
        self.bindings.iter(self.number)
    }
}

/// The handle of a registration.
pub(crate) fn registration_handle(side: Side, key: Key) -> HANDLE {
    let kind = match side {
        Side::Client => Kind::Client,
        Side::Provider => Kind::Provider,
    };
    handle::encode(kind, key)
}

/// What a report says of a binding.
pub(crate) fn describe_binding(key: Key, binding: &Binding, now: Duration) -> BindingReport {
    BindingReport {
        handle: handle::encode(Kind::Binding, key).addr(),
        client: registration_handle(Side::Client, binding.client).addr(),
        provider: registration_handle(Side::Provider, binding.provider).addr(),
        life: binding.life,
        age: now.saturating_sub(binding.since),
        running: binding.running.iter().flatten().copied().collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_table_takes_no_more_until_an_entry_is_gone() {
        let mut table = Table::new();
        for slot in 0..handle::MAX_SLOTS as u32 {
            assert_eq!(table.insert(()), Some((slot, 1)));
        }
        assert_eq!(table.insert(()), None);
        table.remove(Key { shard: 0, slot: 7, generation: 1 });
        assert_eq!(table.insert(()), Some((7, 2)));
        assert_eq!(table.insert(()), None);
    }
}
