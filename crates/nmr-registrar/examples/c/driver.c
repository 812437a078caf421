/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * A driver in miniature, with the NMR code of a client as it is written for Windows: it builds with the WDK and,
 * unchanged, on a host with the headers of include/km.
 */
#include "driver.h"

#define POOL_TAG 'lpmE'

static const NPIID ExampleNpi = {0x8D5A1B10, 0x77A1, 0x4C12, {0x9B, 0x40, 0x5F, 0x0C, 0x1E, 0x22, 0x63, 0x01}};
static const NPI_MODULEID ModuleId = {
    sizeof(NPI_MODULEID), MIT_GUID, {{0x0C0FFEE0, 1, 2, {3, 4, 5, 6, 7, 8, 9, 10}}}};

typedef struct _BINDING {
    HANDLE NmrBindingHandle;
    PVOID ProviderContext;
    const VOID *ProviderDispatch;
} BINDING;

BOOLEAN WrongHandle;
static HANDLE ClientHandle;
static HANDLE Pending;

static NPI_CLIENT_ATTACH_PROVIDER_FN ClientAttachProvider;
static NPI_CLIENT_DETACH_PROVIDER_FN ClientDetachProvider;
static NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ClientCleanupBindingContext;
static DRIVER_UNLOAD DriverUnload;

_Use_decl_annotations_
static NTSTATUS NTAPI ClientAttachProvider(HANDLE NmrBindingHandle, PVOID ClientContext,
                                           PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance)
{
    BINDING *Binding;
    NTSTATUS Status;

    UNREFERENCED_PARAMETER(ClientContext);
    if (ProviderRegistrationInstance->Number != 0)
        return STATUS_NOINTERFACE;
    Binding = (BINDING *)ExAllocatePool2(POOL_FLAG_NON_PAGED, sizeof(*Binding), POOL_TAG);
    if (Binding == NULL)
        return STATUS_INSUFFICIENT_RESOURCES;
    Binding->NmrBindingHandle = NmrBindingHandle;
    Status = NmrClientAttachProvider(NmrBindingHandle, Binding, NULL, &Binding->ProviderContext,
                                     &Binding->ProviderDispatch);
    if (Status != STATUS_SUCCESS)
        ExFreePoolWithTag(Binding, POOL_TAG);
    return Status;
}

/* There are always calls in progress in this example. */
_Use_decl_annotations_
static NTSTATUS NTAPI ClientDetachProvider(PVOID ClientBindingContext)
{
    Pending = ((BINDING *)ClientBindingContext)->NmrBindingHandle;
    return STATUS_PENDING;
}

_Use_decl_annotations_
static VOID NTAPI ClientCleanupBindingContext(PVOID ClientBindingContext)
{
    ExFreePoolWithTag(ClientBindingContext, POOL_TAG);
}

static const NPI_CLIENT_CHARACTERISTICS Characteristics = {
    0,
    sizeof(NPI_CLIENT_CHARACTERISTICS),
    ClientAttachProvider,
    ClientDetachProvider,
    ClientCleanupBindingContext,
    {0, sizeof(NPI_REGISTRATION_INSTANCE), &ExampleNpi, &ModuleId, 0, NULL}};

_Use_decl_annotations_
NTSTATUS DriverEntry(PDRIVER_OBJECT DriverObject, PUNICODE_STRING RegistryPath)
{
    UNREFERENCED_PARAMETER(RegistryPath);
    DriverObject->DriverUnload = DriverUnload;
    return NmrRegisterClient(&Characteristics, NULL, &ClientHandle);
}

void DriverCallsDone(void)
{
    NmrClientDetachProviderComplete(WrongHandle ? ClientHandle : Pending);
}

_Use_decl_annotations_
static VOID DriverUnload(PDRIVER_OBJECT DriverObject)
{
    UNREFERENCED_PARAMETER(DriverObject);
    if (NmrDeregisterClient(ClientHandle) == STATUS_PENDING)
        NmrWaitForClientDeregisterComplete(ClientHandle);
}
