//! An extension of eBPF for Windows: one program type, and one hook that runs programs of it when something happens.

use core::ffi::c_void;
use core::mem::offset_of;
use core::ptr;

use wdk_nmr::{
    ClientOffer, GUID, ModuleId, Passive, Provider, ProviderRegistration, ProviderTable, Refusal, RegisterError,
    RegistrationOptions, Resident, Single, field,
};

use crate::interface::{
    AttachProviderData, ContextDescriptor, ExtensionData, Header, Hook, ProgramData, ProgramDispatch, ProgramInfo,
    ProgramInformation, ProgramTypeDescriptor, Static,
};

/// The program type, and the hook's attach type.
pub const PROGRAM_TYPE: GUID = GUID::from_u128(0xf788ef4b_207d_4dc3_85cf_0f2ea107213c);
pub const ATTACH_TYPE: GUID = GUID::from_u128(0xf788ef4a_207d_4dc3_85cf_0f2ea107213c);

/// What a program sees of an event.
#[repr(C)]
pub struct Event {
    pub number: u32,
    pub interface_index: u32,
}

static CONTEXT: ContextDescriptor = ContextDescriptor { size: size_of::<Event>() as i32, data: -1, end: -1, meta: -1 };
static DESCRIPTOR: Static<ProgramTypeDescriptor> =
    Static(ProgramTypeDescriptor::new(c"example", &CONTEXT, PROGRAM_TYPE));
static INFORMATION: Static<ProgramInfo> = Static(ProgramInfo {
    header: Header::of::<ProgramInfo>(size_of::<ProgramInfo>()),
    program_type_descriptor: &raw const DESCRIPTOR.0,
    count_of_helpers: 0,
    helper_prototype: ptr::null(),
    count_of_global_helpers: 0,
    global_helper_prototype: ptr::null(),
});

/// Says what programs of the type look like. There is nothing to do when a client attaches: all is in the
/// characteristics.
pub struct Types;

impl Provider for Types {
    type Npi = ProgramInformation;
    type Binding = ();
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, _: &ClientOffer<'_, ProgramInformation>) -> Result<(), Refusal> {
        Ok(())
    }
}

/// Runs the programs that are attached.
pub struct Events;

/// A program that is attached: for the events of which interface it was meant.
pub struct Program {
    interface_index: u32,
}

impl Provider for Events {
    type Npi = Hook;
    type Binding = Program;
    // Events come on one processor at a time here. A hook of the data path has `PerProcessor`.
    type Guard = Single;

    fn dispatch(&self) -> ProviderTable<Self> {
        ProviderTable::none()
    }

    fn attach(&self, client: &ClientOffer<'_, Hook>) -> Result<Program, Refusal> {
        let data = client.characteristics()?;
        let (pointer, size) = (data.get(field!(ExtensionData, data)), data.get(field!(ExtensionData, data_size)));
        let (pointer, size) = pointer.zip(size).ok_or(Refusal::INVALID_PARAMETER)?;
        if pointer.is_null() || *size != size_of::<u32>() {
            return Err(Refusal::INVALID_PARAMETER);
        }
        // SAFETY: the client says that there are four bytes, and they stay as long as its characteristics.
        let interface_index = unsafe { pointer.cast::<u32>().read_unaligned() };
        Ok(Program { interface_index })
    }
}

/// Runs every program that is attached for the interface of the event, and adds up what they return.
pub fn run<R: Resident>(events: &ProviderRegistration<Events, R>, event: &mut Event) -> u32 {
    let interface_index = event.interface_index;
    let mut sum = 0_u32;
    for program in events.clients().filter(|program| program.binding().interface_index == interface_index) {
        let mut result = 0;
        let status = program.call(|table, context| {
            let invoke = table.get(field!(ProgramDispatch, invoke))?;
            let event = (&raw mut *event).cast::<c_void>();
            // SAFETY: the context came with the table; the event is as the descriptor says.
            Some(unsafe { invoke(context, event, &raw mut result) })
        });
        if status == Some(0) {
            sum = sum.wrapping_add(result);
        }
    }
    sum
}

/// Both registrations.
pub type Extension<R> = (ProviderRegistration<Types, R>, ProviderRegistration<Events, R>);

/// The last thing that DriverEntry does. If the second registration fails, the first is ended: R73.
pub fn register<R: Resident + Clone>(driver: R, passive: Passive<'_>) -> Result<Extension<R>, RegisterError> {
    let data = ProgramData {
        header: Header::of::<ProgramData>(offset_of!(ProgramData, capabilities) + 4),
        program_info: &raw const INFORMATION.0,
        helper_function_addresses: ptr::null(),
        global_helper_function_addresses: ptr::null(),
        context_create: None,
        context_destroy: None,
        required_irql: 0,
        capabilities: 0,
    };
    let options = RegistrationOptions::new(ModuleId::Guid(PROGRAM_TYPE), data);
    let types = ProviderRegistration::register(Types, options, driver.clone(), passive)?;
    let data = AttachProviderData {
        header: Header::of::<AttachProviderData>(offset_of!(AttachProviderData, link_type) + 4),
        supported_program_type: PROGRAM_TYPE,
        bpf_attach_type: 0,
        link_type: 0,
    };
    let options = RegistrationOptions::new(ModuleId::Guid(ATTACH_TYPE), data);
    match ProviderRegistration::register(Events, options, driver, passive) {
        Ok(events) => Ok((types, events)),
        Err(error) => {
            // If NMR does not end it, the registration holds on to the image, and DriverEntry may fail all the same.
            let _ = types.deregister(passive);
            Err(error)
        }
    }
}
