# Puts sluice.sys and probe.sys through their life again and again on a Windows machine: start in both orders, load a
# policy, classify a capture, stop in both orders, the provider also under its attached client. Prints a report and ends
# with 0 if nothing failed. Both services exist already (cargo make install, or install-service); the prompt is elevated.
#
# With Driver Verifier on for both drivers (cargo make verify-on, then restart) a mistake stops the machine, and what is
# left to look at is the crash dump. With its low resources, a command may be refused for lack of memory: that is counted
# and is no failure.
param(
    [int]$Rounds = 100,
    [Parameter(Mandatory)][string]$Sluicectl,
    [Parameter(Mandatory)][string]$Capture,
    [Parameter(Mandatory)][string]$Policy,
    [string]$Report = 'verify-report.txt'
)

# ERROR_NOT_ENOUGH_MEMORY, ERROR_OUTOFMEMORY, ERROR_NO_SYSTEM_RESOURCES
$LackOfMemory = 8, 14, 1450
$script:failed = 0
$script:refused = 0
$script:lines = @()

function Write-Line([string]$Line) {
    Write-Host $Line
    $script:lines += $Line
}

# Runs a program and says whether it did what it should. Stopping what does not run (1062) is nothing wrong.
function Invoke-Step([string]$Program, [string[]]$Arguments, [int[]]$Accepted = @(0)) {
    $output = & $Program @Arguments 2>&1 | Out-String
    $code = $LASTEXITCODE
    if ($Accepted -contains $code) { return $true }
    $lack = ($LackOfMemory -contains $code) -or ($output -match 'INSUFFICIENT_RESOURCES|\b1450\b')
    if ($lack) {
        $script:refused++
    } else {
        $script:failed++
        Write-Line "round ${round}: $Program $Arguments ended with $code"
        Write-Line $output.Trim()
    }
    return $false
}

function Get-State([string]$Service) {
    return (Get-CimInstance Win32_SystemDriver -Filter "Name='$Service'").State
}

foreach ($service in 'sluice', 'probe') {
    if (-not (Get-State $service)) {
        Write-Host "There is no service $service. Make it with: cargo make install, or sc.exe create (docs/test-vm.md)"
        exit 2
    }
}

$started = Get-Date
Write-Line "Windows $([Environment]::OSVersion.Version), $env:PROCESSOR_ARCHITECTURE, $Rounds rounds"
verifier /querysettings | Out-String | ForEach-Object { Write-Line $_.Trim() }

for ($round = 1; $round -le $Rounds; $round++) {
    # All four combinations of who starts first and who stops first.
    $start = if ($round % 2) { 'sluice', 'probe' } else { 'probe', 'sluice' }
    $stop = if ([math]::Floor($round / 2) % 2) { 'sluice', 'probe' } else { 'probe', 'sluice' }

    $up = $true
    foreach ($service in $start) { $up = (Invoke-Step sc.exe @('start', $service)) -and $up }
    if ($up) {
        [void](Invoke-Step $Sluicectl @('policy', 'load', $Policy))
        [void](Invoke-Step $Sluicectl @('classify', $Capture))
        [void](Invoke-Step $Sluicectl @('status'))
    }
    foreach ($service in $stop) { [void](Invoke-Step sc.exe @('stop', $service) @(0, 1062)) }
    foreach ($service in 'sluice', 'probe') {
        $state = Get-State $service
        if ($state -ne 'Stopped') {
            $script:failed++
            Write-Line "round ${round}: $service is $state after it was stopped"
        }
    }
}

# What Driver Verifier counted: loads, unloads, allocations failed on purpose, pool still allocated.
verifier /query | Out-String | ForEach-Object { Write-Line $_.Trim() }
$seconds = [math]::Round(((Get-Date) - $started).TotalSeconds)
Write-Line "$Rounds rounds in $seconds s: $script:failed failed, $script:refused refused for lack of memory"
$script:lines | Set-Content -Path $Report
Write-Host "The report is in $Report"
exit ([int]($script:failed -gt 0))
