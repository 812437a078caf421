/* SPDX-License-Identifier: MIT OR Apache-2.0
 *
 * What <netioddk.h> and <netiodef.h> of the WDK declare for NMR clients, for builds against mingw-w64's headers, which
 * have neither. Written from the documentation of the functions (learn.microsoft.com/windows-hardware/drivers/ddi). A
 * build with the WDK does not see this file.
 */
#pragma once

typedef GUID NPIID;
typedef const NPIID *PNPIID;

typedef enum _NPI_MODULEID_TYPE {
    MIT_GUID = 1,
    MIT_IF_LUID,
} NPI_MODULEID_TYPE;

typedef struct _NPI_MODULEID {
    USHORT Length;
    NPI_MODULEID_TYPE Type;
    union {
        GUID Guid;
        LUID IfLuid;
    };
} NPI_MODULEID;
typedef const NPI_MODULEID *PNPI_MODULEID;
C_ASSERT(sizeof(NPI_MODULEID) == 24);

typedef struct _NPI_REGISTRATION_INSTANCE {
    USHORT Version;
    USHORT Size;
    PNPIID NpiId;
    PNPI_MODULEID ModuleId;
    ULONG Number;
    const VOID *NpiSpecificCharacteristics;
} NPI_REGISTRATION_INSTANCE;
typedef const NPI_REGISTRATION_INSTANCE *PNPI_REGISTRATION_INSTANCE;
C_ASSERT(sizeof(NPI_REGISTRATION_INSTANCE) == 40);

typedef NTSTATUS NTAPI NPI_CLIENT_ATTACH_PROVIDER_FN(HANDLE NmrBindingHandle,
                                                     PVOID ClientContext,
                                                     PNPI_REGISTRATION_INSTANCE ProviderRegistrationInstance);
typedef NPI_CLIENT_ATTACH_PROVIDER_FN *PNPI_CLIENT_ATTACH_PROVIDER_FN;

typedef NTSTATUS NTAPI NPI_CLIENT_DETACH_PROVIDER_FN(PVOID ClientBindingContext);
typedef NPI_CLIENT_DETACH_PROVIDER_FN *PNPI_CLIENT_DETACH_PROVIDER_FN;

typedef VOID NTAPI NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN(PVOID ClientBindingContext);
typedef NPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN *PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN;

typedef struct _NPI_CLIENT_CHARACTERISTICS {
    USHORT Version;
    USHORT Length;
    PNPI_CLIENT_ATTACH_PROVIDER_FN ClientAttachProvider;
    PNPI_CLIENT_DETACH_PROVIDER_FN ClientDetachProvider;
    PNPI_CLIENT_CLEANUP_BINDING_CONTEXT_FN ClientCleanupBindingContext;
    NPI_REGISTRATION_INSTANCE ClientRegistrationInstance;
} NPI_CLIENT_CHARACTERISTICS;
typedef const NPI_CLIENT_CHARACTERISTICS *PNPI_CLIENT_CHARACTERISTICS;
C_ASSERT(sizeof(NPI_CLIENT_CHARACTERISTICS) == 72);

DECLSPEC_IMPORT NTSTATUS NTAPI NmrRegisterClient(PNPI_CLIENT_CHARACTERISTICS ClientCharacteristics,
                                                 PVOID ClientContext,
                                                 PHANDLE NmrClientHandle);
DECLSPEC_IMPORT NTSTATUS NTAPI NmrDeregisterClient(HANDLE NmrClientHandle);
DECLSPEC_IMPORT NTSTATUS NTAPI NmrWaitForClientDeregisterComplete(HANDLE NmrClientHandle);
DECLSPEC_IMPORT NTSTATUS NTAPI NmrClientAttachProvider(HANDLE NmrBindingHandle,
                                                       PVOID ClientBindingContext,
                                                       const VOID *ClientDispatch,
                                                       PVOID *ProviderBindingContext,
                                                       const VOID **ProviderDispatch);
DECLSPEC_IMPORT VOID NTAPI NmrClientDetachProviderComplete(HANDLE NmrBindingHandle);
