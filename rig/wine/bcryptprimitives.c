/*
 * bcryptprimitives.dll for versions of Wine that have none, as 8.0.
 *
 * Rust's standard library takes its random numbers from ProcessPrng and nothing else from that DLL. advapi32.dll offers
 * the same generator under the name SystemFunction036 (RtlGenRandom), in pieces that a ULONG can count.
 */
#include <windows.h>

BOOLEAN WINAPI SystemFunction036(PVOID buffer, ULONG length);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE data, SIZE_T length)
{
    while (length > 0) {
        ULONG piece = length > MAXLONG ? MAXLONG : (ULONG)length;
        if (!SystemFunction036(data, piece))
            return FALSE;
        data += piece;
        length -= piece;
    }
    return TRUE;
}
