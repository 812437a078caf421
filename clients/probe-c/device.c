/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * The device. Service `probe-c` makes the device \Device\probe-c, which a program opens as \\.\probe-c.
 *
 * What comes from user mode may be anything. Lengths, counts and offsets are checked here; the packets go to Sluice as
 * they are.
 */
#include "probe.h"

/* ---- The requests ------------------------------------------------------------------------------------------------ */

/* Both get the system buffer, which holds the input and takes the answer. It is the kernel's own, so no program can
 * change it meanwhile, and aligned for any structure. On STATUS_SUCCESS AnswerLength is how long the answer is. */

/* Whether the input is a whole batch: every byte of every packet lies in it, behind the entries. */
static NTSTATUS CheckBatch(_In_reads_bytes_(InputLength) const VOID *Input, ULONG InputLength)
{
    const PROBE_BATCH_REQUEST *request = Input;
    const PROBE_BATCH_ENTRY *entries = (const PROBE_BATCH_ENTRY *)(request + 1);
    ULONG firstByte;
    UINT32 i;

    if (InputLength < sizeof(*request)) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    if (request->Header.Version != PROBE_CONTROL_VERSION) {
        return STATUS_REVISION_MISMATCH;
    }
    if (request->Header.Size != sizeof(*request) || request->Reserved != 0 || request->Count == 0 ||
        request->Count > SLUICE_MAX_BATCH) {
        return STATUS_INVALID_PARAMETER;
    }
    firstByte = (ULONG)(sizeof(*request) + request->Count * sizeof(*entries));
    if (InputLength < firstByte) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    for (i = 0; i < request->Count; i++) {
        if (entries[i].Offset < firstByte || entries[i].Offset > InputLength ||
            entries[i].CapturedLength > InputLength - entries[i].Offset) {
            return STATUS_INVALID_PARAMETER;
        }
    }
    return STATUS_SUCCESS;
}

_IRQL_requires_max_(PASSIVE_LEVEL)
static NTSTATUS AnswerClassify(_Inout_ VOID *Buffer, ULONG InputLength, ULONG OutputLength,
                               _Inout_ ULONG_PTR *AnswerLength)
{
    const PROBE_BATCH_REQUEST *request = Buffer;
    const PROBE_BATCH_ENTRY *entries = (const PROBE_BATCH_ENTRY *)(request + 1);
    PROBE_BATCH_ANSWER answer = {{PROBE_CONTROL_VERSION, sizeof(answer)}, 0, 0};
    SLUICE_VERDICT *verdicts;
    SLUICE_PACKET *packets;
    SIZE_T verdictsLength;
    NTSTATUS status;
    UINT32 i;

    status = CheckBatch(Buffer, InputLength);
    if (status != STATUS_SUCCESS) {
        return status;
    }
    answer.Count = request->Count;
    verdictsLength = answer.Count * sizeof(*verdicts);
    if (OutputLength < sizeof(answer) + verdictsLength) {
        return STATUS_BUFFER_TOO_SMALL;
    }

    /* The verdicts cannot be written to the system buffer, which still holds the packets. */
    verdicts = ExAllocatePool2(POOL_FLAG_NON_PAGED, verdictsLength + answer.Count * sizeof(*packets), PROBE_POOL_TAG);
    if (verdicts == NULL) {
        return STATUS_INSUFFICIENT_RESOURCES;
    }
    packets = (SLUICE_PACKET *)(verdicts + answer.Count);
    for (i = 0; i < answer.Count; i++) {
        const SLUICE_HEADER header = SLUICE_HEADER_OF(SLUICE_PACKET);

        packets[i].Header = header;
        packets[i].LinkType = entries[i].LinkType;
        packets[i].Direction = entries[i].Direction;
        packets[i].CapturedLength = entries[i].CapturedLength;
        packets[i].WireLength = entries[i].WireLength;
        packets[i].Data = (const UINT8 *)Buffer + entries[i].Offset;
    }

    status = ClientClassify(packets, answer.Count, verdicts);
    if (status == STATUS_SUCCESS) {
        /* What was read of the input is not needed any more. */
        RtlCopyMemory(Buffer, &answer, sizeof(answer));
        RtlCopyMemory((PROBE_BATCH_ANSWER *)Buffer + 1, verdicts, verdictsLength);
        *AnswerLength = sizeof(answer) + verdictsLength;
    }
    ExFreePoolWithTag(verdicts, PROBE_POOL_TAG);
    return status;
}

_IRQL_requires_max_(PASSIVE_LEVEL)
static NTSTATUS AnswerStatus(_Inout_ VOID *Buffer, ULONG InputLength, ULONG OutputLength,
                             _Inout_ ULONG_PTR *AnswerLength)
{
    PROBE_STATUS answer = {{PROBE_CONTROL_VERSION, sizeof(answer)}, 0, 0, 0};
    VOID *providers = (PROBE_STATUS *)Buffer + 1;
    UINT32 room;

    if (InputLength != 0) {
        return STATUS_INVALID_BUFFER_SIZE;
    }
    if (OutputLength < sizeof(answer)) {
        return STATUS_BUFFER_TOO_SMALL;
    }
    room = (UINT32)((OutputLength - sizeof(answer)) / sizeof(PROBE_PROVIDER));
    answer.ProvidersTotal = ClientListProviders(providers, room);
    answer.ProvidersListed = min(answer.ProvidersTotal, room);
    RtlCopyMemory(Buffer, &answer, sizeof(answer));
    *AnswerLength = sizeof(answer) + answer.ProvidersListed * sizeof(PROBE_PROVIDER);
    return STATUS_SUCCESS;
}

/* ---- The dispatch routines --------------------------------------------------------------------------------------- */

_Dispatch_type_(IRP_MJ_CREATE) _Dispatch_type_(IRP_MJ_CLEANUP) _Dispatch_type_(IRP_MJ_CLOSE)
static DRIVER_DISPATCH DispatchCreateClose;
_Dispatch_type_(IRP_MJ_DEVICE_CONTROL)
static DRIVER_DISPATCH DispatchDeviceControl;

static NTSTATUS Complete(IRP *Irp, NTSTATUS Status, ULONG_PTR Information)
{
    Irp->IoStatus.Status = Status;
    Irp->IoStatus.Information = Information;
    IoCompleteRequest(Irp, IO_NO_INCREMENT);
    return Status;
}

/* There is no state per handle, and nothing behind the device that a longer name could mean. */
static NTSTATUS NTAPI DispatchCreateClose(DEVICE_OBJECT *DeviceObject, IRP *Irp)
{
    const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(Irp);

    UNREFERENCED_PARAMETER(DeviceObject);

    if (stack->MajorFunction == IRP_MJ_CREATE && stack->FileObject != NULL && stack->FileObject->FileName.Length != 0) {
        return Complete(Irp, STATUS_OBJECT_NAME_NOT_FOUND, 0);
    }
    return Complete(Irp, STATUS_SUCCESS, 0);
}

/* At PASSIVE_LEVEL, on any number of threads at once. */
static NTSTATUS NTAPI DispatchDeviceControl(DEVICE_OBJECT *DeviceObject, IRP *Irp)
{
    const IO_STACK_LOCATION *stack = IoGetCurrentIrpStackLocation(Irp);
    ULONG inputLength = stack->Parameters.DeviceIoControl.InputBufferLength;
    ULONG outputLength = stack->Parameters.DeviceIoControl.OutputBufferLength;
    ULONG_PTR answerLength = 0;
    NTSTATUS status = STATUS_INVALID_DEVICE_REQUEST;

    UNREFERENCED_PARAMETER(DeviceObject);

    switch (stack->Parameters.DeviceIoControl.IoControlCode) {
    case IOCTL_PROBE_CLASSIFY:
        status = AnswerClassify(Irp->AssociatedIrp.SystemBuffer, inputLength, outputLength, &answerLength);
        break;
    case IOCTL_PROBE_STATUS:
        status = AnswerStatus(Irp->AssociatedIrp.SystemBuffer, inputLength, outputLength, &answerLength);
        break;
    default:
        break;
    }
    return Complete(Irp, status, answerLength);
}

/* ---- The device itself ------------------------------------------------------------------------------------------- */

/* The longest name of a device or a link, in characters. */
#define MAX_NAME 128

static DEVICE_OBJECT *Device;
static WCHAR LinkBuffer[MAX_NAME];
static UNICODE_STRING Link = {0, sizeof(LinkBuffer), LinkBuffer};

/* D:P(A;;GA;;;SY)(A;;GA;;;BA) in self-relative form ([MS-DTYP] 2.4.6): all access for SYSTEM and administrators, none
 * for anybody else. A driver that links wdmsec.lib gives IoCreateDeviceSecure the text instead. */
static const DECLSPEC_ALIGN(4) UINT8 AdministratorsOnly[] = {
    /* Revision 1, SE_DACL_PRESENT | SE_DACL_PROTECTED | SE_SELF_RELATIVE, DACL at 20. */
    1, 0, 0x04, 0x90, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 20, 0, 0, 0,
    /* DACL: revision 2, 52 bytes, 2 entries. */
    2, 0, 52, 0, 2, 0, 0, 0,
    /* Access allowed, 20 bytes, GENERIC_ALL, S-1-5-18. */
    0, 0, 20, 0, 0, 0, 0, 0x10, 1, 1, 0, 0, 0, 0, 0, 5, 18, 0, 0, 0,
    /* Access allowed, 24 bytes, GENERIC_ALL, S-1-5-32-544. */
    0, 0, 24, 0, 0, 0, 0, 0x10, 1, 2, 0, 0, 0, 0, 0, 5, 32, 0, 0, 0, 0x20, 2, 0, 0,
};

/* Nobody can have opened the device yet: a device that DriverEntry makes cannot be opened before that has returned. */
static NTSTATUS AdmitAdministratorsOnly(VOID)
{
    HANDLE handle;
    NTSTATUS status = ObOpenObjectByPointer(Device, OBJ_KERNEL_HANDLE, NULL, WRITE_DAC, NULL, KernelMode, &handle);

    if (status != STATUS_SUCCESS) {
        return status;
    }
    status = ZwSetSecurityObject(handle, DACL_SECURITY_INFORMATION, (VOID *)(ULONG_PTR)AdministratorsOnly);
    ZwClose(handle);
    return status;
}

NTSTATUS DeviceCreate(DRIVER_OBJECT *DriverObject, const UNICODE_STRING *RegistryPath)
{
    WCHAR nameBuffer[MAX_NAME];
    UNICODE_STRING name = {0, sizeof(nameBuffer), nameBuffer};
    UNICODE_STRING service = *RegistryPath;
    NTSTATUS status;

    /* ...\Services\<service> */
    while (service.Length > 0 && service.Buffer[service.Length / sizeof(WCHAR) - 1] != L'\\') {
        service.Length -= sizeof(WCHAR);
    }
    service.Buffer += service.Length / sizeof(WCHAR);
    service.Length = RegistryPath->Length - service.Length;

    if (!NT_SUCCESS(RtlAppendUnicodeToString(&name, L"\\Device\\")) ||
        !NT_SUCCESS(RtlAppendUnicodeStringToString(&name, &service)) ||
        !NT_SUCCESS(RtlAppendUnicodeToString(&Link, L"\\DosDevices\\")) ||
        !NT_SUCCESS(RtlAppendUnicodeStringToString(&Link, &service))) {
        return STATUS_NAME_TOO_LONG;
    }

    status = IoCreateDevice(DriverObject, 0, &name, FILE_DEVICE_NETWORK, FILE_DEVICE_SECURE_OPEN, FALSE, &Device);
    if (status != STATUS_SUCCESS) {
        return status;
    }
    status = AdmitAdministratorsOnly();
    if (status == STATUS_SUCCESS) {
        status = IoCreateSymbolicLink(&Link, &name);
    }
    if (status != STATUS_SUCCESS) {
        IoDeleteDevice(Device);
        return status;
    }
    DriverObject->MajorFunction[IRP_MJ_CREATE] = DispatchCreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLEANUP] = DispatchCreateClose;
    DriverObject->MajorFunction[IRP_MJ_CLOSE] = DispatchCreateClose;
    DriverObject->MajorFunction[IRP_MJ_DEVICE_CONTROL] = DispatchDeviceControl;
    return STATUS_SUCCESS;
}

VOID DeviceDelete(VOID)
{
    IoDeleteSymbolicLink(&Link);
    IoDeleteDevice(Device);
}
