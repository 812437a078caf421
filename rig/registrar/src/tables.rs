//! The registrations and bindings that exist. Split into shards by NPIID: everything that one interface is about lies
//! in one shard, so interfaces do not disturb each other, and a match is looked up, not searched for.

use alloc::collections::BTreeMap;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::time::Duration;

use wdk_nmr_sys::{HANDLE, NPIID};

use crate::handle::{self, Key, Kind};
use crate::life::{Life, Side};
use crate::module::{Opaque, Registered};
use crate::report::{BindingReport, RegistrationReport};
use crate::violation::{Callback, Module};

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

    fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        let slot = &mut self.slots[key.slot as usize];
        slot.generation = handle::next_generation(slot.generation);
        self.free.push(key.slot);
        slot.value.take()
    }

    fn iter(&self, shard: u8) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().enumerate().filter_map(move |(slot, Slot { generation, value })| {
            let key = Key { shard, slot: slot as u32, generation: *generation };
            value.as_ref().map(|value| (key, value))
        })
    }
}

/// The registrations of one interface, in the order in which they were made.
#[derive(Default)]
struct Interface {
    clients: BTreeMap<u64, Key>,
    providers: BTreeMap<u64, Key>,
}

impl Interface {
    fn side(&self, side: Side) -> &BTreeMap<u64, Key> {
        match side {
            Side::Client => &self.clients,
            Side::Provider => &self.providers,
        }
    }

    fn side_mut(&mut self, side: Side) -> &mut BTreeMap<u64, Key> {
        match side {
            Side::Client => &mut self.clients,
            Side::Provider => &mut self.providers,
        }
    }
}

/// One registration.
pub(crate) struct Registration<E> {
    pub(crate) module: Registered,
    /// Its place in the order of all registrations of the shard.
    sequence: u64,
    pub(crate) since: Duration,
    /// The slots of its bindings, in the order in which they were offered: no order may depend on the slots, or a seed
    /// would not repeat it. Bindings cannot outlive it, so that the slot names them.
    pub(crate) bindings: BTreeMap<u64, u32>,
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
        self.deregistering.is_some() && self.bindings.is_empty()
    }
}

/// One binding.
pub(crate) struct Binding {
    /// Its place in the order of all offers of the shard.
    sequence: u64,
    pub(crate) client: Key,
    pub(crate) provider: Key,
    pub(crate) life: Life,
    /// When `life` last changed.
    pub(crate) since: Duration,
    pub(crate) client_context: Opaque,
    pub(crate) provider_context: Opaque,
    /// The thread in ClientAttachProvider.
    pub(crate) offering: u64,
    /// Callbacks in progress and their threads, innermost last.
    pub(crate) running: Vec<(Callback, u64)>,
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

    pub(crate) fn stops_running(&mut self, callback: Callback, thread: u64) {
        if let Some(index) = self.running.iter().rposition(|entry| *entry == (callback, thread)) {
            self.running.remove(index);
        }
    }
}

/// Everything about the interfaces whose NPIID falls into it.
pub(crate) struct Shard<E> {
    number: u8,
    next_sequence: u64,
    interfaces: BTreeMap<NPIID, Interface>,
    pub(crate) registrations: Table<Registration<E>>,
    pub(crate) bindings: Table<Binding>,
}

impl<E> Shard<E> {
    pub(crate) fn new(number: u8) -> Self {
        Self {
            number,
            next_sequence: 0,
            interfaces: BTreeMap::new(),
            registrations: Table::new(),
            bindings: Table::new(),
        }
    }

    /// Adds a registration. Returns it and the registrations of the other side that it is to be offered to or that are
    /// to be offered to it: those that were there before it, oldest first (R4).
    pub(crate) fn register(&mut self, module: Registered, now: Duration) -> Option<(Key, Vec<Key>)> {
        let sequence = self.next_sequence;
        let registration = Registration {
            module,
            sequence,
            since: now,
            bindings: BTreeMap::new(),
            deregistering: None,
            waiters: 0,
            drained: None,
            image_gone: false,
            change_reported: false,
        };
        let (slot, generation) = self.registrations.insert(registration)?;
        self.next_sequence += 1;
        let key = Key { shard: self.number, slot, generation };
        let interface = self.interfaces.entry(module.npi).or_default();
        interface.side_mut(module.side()).insert(sequence, key);
        Some((key, interface.side(module.side().peer()).values().copied().collect()))
    }

    /// Takes a registration out of the matching: nothing is offered to it any more (R41).
    pub(crate) fn withdraw(&mut self, key: Key) {
        let Some(registration) = self.registrations.get(key) else { return };
        let Registered { npi, .. } = registration.module;
        if let Some(interface) = self.interfaces.get_mut(&npi) {
            interface.side_mut(registration.module.side()).remove(&registration.sequence);
            if interface.clients.is_empty() && interface.providers.is_empty() {
                self.interfaces.remove(&npi);
            }
        }
    }

    /// Forgets a registration.
    pub(crate) fn remove_registration(&mut self, key: Key) {
        self.withdraw(key);
        self.registrations.remove(key);
    }

    /// Adds a binding in state Offered, unless one of the two is ending or gone (R41).
    pub(crate) fn offer(&mut self, client: Key, provider: Key, thread: u64, now: Duration) -> Option<Key> {
        let open = |key| self.registrations.get(key).is_some_and(|registration| registration.deregistering.is_none());
        if !open(client) || !open(provider) {
            return None;
        }
        let null = Opaque(core::ptr::null_mut());
        let sequence = self.next_sequence;
        let (slot, generation) = self.bindings.insert(Binding {
            sequence,
            client,
            provider,
            life: Life::new(),
            since: now,
            client_context: null,
            provider_context: null,
            offering: thread,
            running: Vec::new(),
        })?;
        self.next_sequence += 1;
        for side in [client, provider] {
            if let Some(registration) = self.registrations.get_mut(side) {
                registration.bindings.insert(sequence, slot);
            }
        }
        Some(Key { shard: self.number, slot, generation })
    }

    /// The key of the binding that lies in a slot now.
    pub(crate) fn binding_key(&self, slot: u32) -> Option<Key> {
        let generation = self.bindings.slots.get(slot as usize)?.generation;
        Some(Key { shard: self.number, slot, generation })
    }

    /// Removes a binding. Returns the events of the registrations whose end that was.
    pub(crate) fn remove_binding(&mut self, key: Key) -> [Option<Arc<E>>; 2] {
        let Some(binding) = self.bindings.remove(key) else { return [None, None] };
        [binding.client, binding.provider].map(|side| {
            let registration = self.registrations.get_mut(side)?;
            registration.bindings.remove(&binding.sequence);
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

/// What a report says of a registration.
pub(crate) fn describe_registration<E>(
    module: Module,
    registration: &Registration<E>,
    now: Duration,
) -> RegistrationReport {
    RegistrationReport {
        module,
        bindings: registration.bindings.len(),
        age: now.saturating_sub(registration.since),
        deregistering: registration.deregistering.map(|since| now.saturating_sub(since)),
        waiters: registration.waiters,
    }
}

/// What a report says of a binding.
pub(crate) fn describe_binding(key: Key, binding: &Binding, now: Duration) -> BindingReport {
    BindingReport {
        handle: handle::encode(Kind::Binding, key).addr(),
        client: registration_handle(Side::Client, binding.client).addr(),
        provider: registration_handle(Side::Provider, binding.provider).addr(),
        life: binding.life,
        age: now.saturating_sub(binding.since),
        running: binding.running.clone(),
    }
}
